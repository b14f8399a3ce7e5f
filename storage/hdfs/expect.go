package hdfs

import (
	"cmp"
	"context"
	"maps"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/colinmarc/hdfs/v2"
)

// To open a file the namenode is asked where its blocks are. A listing of a folder says
// it of all of its files: where many of them are opened soon, that is one call for all.

const (
	// fewExpected files of a folder are opened one by one.
	fewExpected = 4
	// leastFound is which part of the listed files has to be wanted, one of so many, for
	// the next page to be asked for.
	leastFound = 4
	// mostExpected files are remembered at most.
	mostExpected = 10_000
	// expectTime is how long.
	expectTime = time.Minute
)

// expected are files by path of which the blocks are known before they are opened.
type expected struct {
	mu sync.Mutex
	by map[string]expectation

	cleared time.Time // that old ones were
}

type expectation struct {
	located
	since time.Time
}

// take is what is known of a file, for one opening.
func (e *expected) take(name string) (located, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, ok := e.by[name]
	delete(e.by, name)
	return known.located, ok && time.Since(known.since) < expectTime
}

// add remembers a file, unless there are too many of them.
func (e *expected) add(name string, where located) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.by == nil {
		e.by = map[string]expectation{}
	}
	if time.Since(e.cleared) >= expectTime {
		e.cleared = time.Now()
		maps.DeleteFunc(e.by, func(_ string, known expectation) bool { return time.Since(known.since) >= expectTime })
	}
	if len(e.by) < mostExpected {
		e.by[name] = expectation{located: where, since: time.Now()}
	}
}

// Expect implements storage.Expecter.
func (f *FS) Expect(ctx context.Context, uris []string) {
	type folder struct {
		*cluster
		path string
	}
	names := map[folder][]string{}
	for _, uri := range uris {
		if p, err := f.at(uri); err == nil {
			in := folder{p.cluster, path.Dir(p.path)}
			names[in] = append(names[in], path.Base(p.path))
		}
	}
	for in, names := range names {
		if len(names) >= fewExpected {
			in.expect(ctx, in.path, names)
		}
	}
}

// expect lists a folder from the first of some names to the last, as long as most of
// what the namenode says is of use. It gives up where something fails: who opens the file
// sees it, or finds it mended.
func (c *cluster) expect(ctx context.Context, folder string, names []string) {
	slices.Sort(names)
	wanted := make(map[string]bool, len(names))
	for _, name := range names {
		wanted[name] = true
	}
	last := names[len(names)-1]
	at := before(names[0])
	for listed, found := 0, 0; ctx.Err() == nil && !c.tokens.Load(); {
		page, more, err := c.expectPage(folder, at, wanted)
		if err != nil || len(page) == 0 {
			return
		}
		for _, name := range page {
			if listed++; wanted[name] {
				found++
			}
			at = name
		}
		if !more || found == len(wanted) || at >= last || found*leastFound < listed {
			return
		}
	}
}

// before is a name between which and another hardly any lies.
func before(name string) string {
	stem, end := name[:len(name)-1], name[len(name)-1]-1
	switch {
	case end == '/': // which begins a path
		end--
	case end == 0 || end >= 0x7f: // not ASCII, of which the namenode has an order of its own
		return stem
	}
	return stem + string(rune(end)) + "\x7f"
}

// expectPage remembers what is wanted of a page of a folder, and tells the names on it.
func (c *cluster) expectPage(folder, after string, wanted map[string]bool) (names []string, more bool, err error) {
	s, err := c.acquire()
	if err != nil {
		return nil, false, err
	}
	defer func() { s.release(err) }()
	if s.protected { // the library reads
		return nil, false, nil
	}
	list, more, err := s.listing(folder, after, true)
	if err != nil {
		err = remote(err)
		return nil, false, err
	}
	for _, status := range list {
		name := string(status.GetPath())
		names = append(names, name)
		if where, ok := s.listed(status); ok && wanted[name] {
			c.expected.add(path.Join(folder, name), where)
		}
	}
	return names, more, nil
}

// listed are the blocks of a file in a listing; false where only its opening says enough.
func (s *session) listed(status *hdfs.FileStatus) (located, bool) {
	m := message{status.ProtoReflect()}
	if m.get("fileType").Enum() != isFile || !m.Has(m.field("locations")) {
		return located{}, false
	}
	all := m.in("locations")
	for _, of := range []message{m, all} {
		if of.Has(of.field("fileEncryptionInfo")) || of.Has(of.field("ecPolicy")) {
			return located{}, false
		}
	}
	if all.get("underConstruction").Bool() || !all.get("isLastBlockComplete").Bool() {
		return located{}, false
	}
	out := s.blocksOf(all)
	out.listed = true
	end := int64(0)
	for _, b := range out.blocks {
		if b.off != end || len(b.at) == 0 {
			return located{}, false
		}
		end += b.bytes
		s.cluster.own.first(b.at) // an opening's answer has them by distance, a listing has not
	}
	return out, end > 0 && end == out.bytes && end == int64(status.GetLength())
}

const isFile = 2 // of the protocol's file types

// hosts are names and addresses of one machine.
type hosts map[string]bool

// thisHost is the machine that this runs on, as far as it knows itself.
func thisHost() hosts {
	own := hosts{}
	if name, err := os.Hostname(); err == nil {
		own[name] = true
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return own // what is near is a matter of speed only
	}
	for _, address := range addresses {
		if prefix, err := netip.ParsePrefix(address.String()); err == nil {
			own[prefix.Addr().Unmap().String()] = true
		}
	}
	return own
}

func (h hosts) has(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return h[host]
}

// first puts the machine's own of some addresses before the others, which stay in their order.
func (h hosts) first(addresses []string) {
	far := func(address string) int {
		if h.has(address) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(addresses, func(a, b string) int { return cmp.Compare(far(a), far(b)) })
}
