package hdfs

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// idlePeers is how many connections to datanodes wait for their next read at most.
	idlePeers = 16
	// idleTime is how long: a datanode waits for 4 s (dfs.datanode.socket.reuse.keepalive).
	idleTime = 2 * time.Second
	// shunTime is how long a datanode that failed is asked last.
	shunTime = time.Minute
)

// peers are the connections to a cluster's datanodes that wait for the next read.
type peers struct {
	mu     sync.Mutex
	idle   []*peer // the newest last
	failed map[string]time.Time
	closed bool
}

// peer is a connection to a datanode, for one goroutine at a time.
type peer struct {
	conn  net.Conn
	in    *bufio.Reader
	at    string
	since time.Time // that it waits
	began bool      // an answer to the last question has begun

	text, sums, edge []byte // of packets, used again
}

// interrupt ends what waits for the connection.
func (c *peer) interrupt() { _ = c.conn.SetDeadline(time.Unix(1, 0)) }

// read reads bytes of a block from one of its datanodes, those that failed lately last.
func (s *peers) read(ctx context.Context, b block, off int64, p []byte) error {
	err := errors.New("no datanode has it")
	for _, address := range s.order(b.at) {
		if err = s.from(ctx, address, b, off, p); err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.mu.Lock()
		s.failed[address] = time.Now()
		s.mu.Unlock()
		err = fmt.Errorf("datanode %s: %w", address, err)
	}
	return err
}

func (s *peers) order(addresses []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	shunned := func(address string) int {
		if at, ok := s.failed[address]; ok && time.Since(at) < shunTime {
			return 1
		}
		return 0
	}
	return slices.SortedStableFunc(slices.Values(addresses), func(a, b string) int { return cmp.Compare(shunned(a), shunned(b)) })
}

// from reads from one datanode. A connection that waited may have been hung up meanwhile:
// then a new one is asked.
func (s *peers) from(ctx context.Context, address string, b block, off int64, p []byte) error {
	for {
		c := s.take(address)
		waited := c != nil
		if c == nil {
			conn, err := dial(ctx, "tcp", address)
			if err != nil {
				return err
			}
			c = &peer{conn: conn, in: bufio.NewReaderSize(conn, 16<<10), at: address}
		}
		c.began = false
		err := c.read(ctx, b, off, p)
		if err == nil {
			s.give(c)
			return nil
		}
		_ = c.conn.Close() // of which only the error is wanted
		if !waited || c.began || ctx.Err() != nil {
			return err
		}
	}
}

// take is a connection that waits, and closes those that did for too long; nil
// where there is none.
func (s *peers) take(address string) *peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = slices.DeleteFunc(s.idle, func(c *peer) bool {
		old := time.Since(c.since) > idleTime
		if old {
			_ = c.conn.Close() // nothing is under way
		}
		return old
	})
	for i := len(s.idle) - 1; i >= 0; i-- {
		if c := s.idle[i]; c.at == address {
			s.idle = slices.Delete(s.idle, i, i+1)
			return c
		}
	}
	return nil
}

// give lets a connection wait whose last read has ended well.
func (s *peers) give(c *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.idle) >= idlePeers {
		_ = c.conn.Close()
		return
	}
	c.since = time.Now()
	s.idle = append(s.idle, c)
}

func (s *peers) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, c := range s.idle {
		_ = c.conn.Close()
	}
	s.idle = nil
}
