package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"lake/load"
)

// Owners come and go: each meets one fault at some request (a lost connection, or
// death with the request applied or not), and some that are gone deliver once more.
// Every answer has to be there once, and each key's in order.
func testOwnersComeAndGo(t *testing.T, b broker) {
	const seed, last = 42, 40
	random := rand.New(rand.NewPCG(seed, 0))
	c := b(t, 3, "paid")
	keys := []string{"a", "b", "c", "d", "e"}
	arm, disarm := c.requestFaults(random)
	if c.Cluster == nil { // a broker that does what it is asked: only death at some moment
		arm, disarm = deaths(random)
	}

	a := answers(t, "paid", keys...)
	var gone *Sink
	goneSeq := int64(0)
	seq, epoch, died := int64(0), int64(0), 0
	for seq < last {
		epoch++
		ctx, cancel := context.WithCancel(t.Context())
		arm(cancel)
		s := c.sink(nil, "paid")
		has, err := s.Open(ctx, c.pipeline(), "all", epoch)
		if err == nil {
			require.Contains(t, []int64{seq, seq - 1, -1}, has, "the marker is the last delivery or the one that was not finished")
			if has < 0 {
				require.LessOrEqual(t, seq, int64(1))
			}
			// The table's last commit is seq: it is delivered again, as after a restart.
			next := max(seq, 1)
			for ; err == nil && next <= last; next++ {
				seq = next
				err = s.Deliver(ctx, c.delivery(epoch, next, a))
				if gone != nil && random.IntN(4) == 0 {
					late := load.Delivery{Pipeline: c.pipeline(), Shard: "all", Epoch: gone.owner.epoch, Seq: goneSeq, Answers: []load.Answers{a}}
					require.Error(t, gone.Deliver(t.Context(), late), "an owner that is gone")
					gone = nil
				}
				if random.IntN(4) == 0 {
					break // SIGSTOP
				}
			}
		}
		if err != nil {
			died++
		} else {
			gone, goneSeq = s, seq
		}
		cancel()
	}
	disarm()
	final := c.sink(nil, "paid")
	_, err := final.Open(t.Context(), c.pipeline(), "all", epoch+1)
	require.NoError(t, err)
	require.NoError(t, final.Deliver(t.Context(), c.delivery(epoch+1, seq, a)))

	got := map[string][]int64{}
	for _, r := range c.read("paid") {
		n, err := strconv.ParseInt(string(r.Headers[1].Value), 10, 64)
		require.NoError(t, err)
		got[string(r.Key)] = append(got[string(r.Key)], n)
	}
	var want []int64
	for n := int64(1); n <= seq; n++ {
		want = append(want, n)
	}
	for _, k := range keys {
		require.Equal(t, want, got[k], "key %s", k)
	}
	require.Greater(t, died, 5, fmt.Sprintf("%d owners, the faults did not bite", epoch))
}

// requestFaults makes one request of an owner fail, or kills the owner at it.
func (c *cluster) requestFaults(random *rand.Rand) (arm func(kill func()), disarm func()) {
	if c.Cluster == nil {
		return nil, nil
	}
	requests := []kmsg.Key{kmsg.Produce, kmsg.EndTxn, kmsg.InitProducerID, kmsg.Fetch, kmsg.ListOffsets}

	var mu sync.Mutex // of the fault, which the cluster's goroutine reads
	var key kmsg.Key
	var left int
	var act func() (error, bool)
	c.Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		if act == nil || kmsg.Key(req.Key()) != key {
			return nil, nil, false
		}
		if left--; left > 0 {
			return nil, nil, false
		}
		err, handled := act()
		act = nil
		return nil, err, handled
	})
	arm = func(cancel func()) {
		mu.Lock()
		defer mu.Unlock()
		key, left = requests[random.IntN(len(requests))], 1+random.IntN(4)
		switch random.IntN(3) {
		case 0:
			act = func() (error, bool) { return errors.New("connection lost"), true }
		case 1:
			act = func() (error, bool) { cancel(); return nil, false }
		default:
			act = func() (error, bool) { cancel(); return errors.New("dead"), true }
		}
	}
	return arm, func() {
		mu.Lock()
		defer mu.Unlock()
		act = nil
	}
}

// deaths kills an owner within a time in which it delivers some times.
func deaths(random *rand.Rand) (arm func(kill func()), disarm func()) {
	var timer *time.Timer
	disarm = func() {
		if timer != nil {
			timer.Stop()
		}
	}
	return func(kill func()) {
		disarm()
		timer = time.AfterFunc(time.Duration(random.Int64N(int64(150*time.Millisecond))), kill)
	}, disarm
}
