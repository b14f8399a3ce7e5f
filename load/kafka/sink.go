package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"lake/brokers"
	"lake/faults"
	"lake/load"
)

// ErrFenced says that another process owns the shard's deliveries by now.
var ErrFenced = errors.New("another process delivers this pipeline's answers")

// Sink delivers to one cluster. It is a load.Sink.
//
// After an error of Deliver it delivers no more until it is opened again, which
// its caller may do only while the table's epoch is its own.
type Sink struct {
	cluster    brokers.Config
	connection []kgo.Opt
	opts       Options
	zone       *time.Location
	outputs    map[string][]output // by rule
	topics     map[string]*Create  // of all outputs; nil: not to be made

	client *kgo.Client // nil: not open, or failed
	owner  owner
	seq    int64 // newest delivered; -1: none
}

// owner is whose deliveries these are.
type owner struct {
	pipeline, shard string
	epoch           int64
	markers         string // the topic
	partition       int32  // of the markers
}

var _ load.Sink = (*Sink)(nil)

// transactionTime bounds how long a dead owner's answers hold back the readers
// of a topic, and how long Open and one delivery may take.
const transactionTime = time.Minute

// Open fences older owners of the shard and reads what the topics have. An
// owner of a higher epoch makes it fail with ErrFenced, a topic that does not
// exist with brokers.ErrUnknownTopic.
func (s *Sink) Open(ctx context.Context, pipeline, shard string, epoch int64) (seq int64, err error) {
	s.drop()
	ctx, cancel := context.WithTimeout(ctx, transactionTime)
	defer cancel()
	defer func() {
		if err != nil {
			s.drop()
			err = fmt.Errorf("open output kafka %s: %w", s.cluster.Name(), s.explain(ctx, err))
		}
	}()
	if s.owner, err = newOwner(pipeline, shard, epoch); err != nil {
		return -1, err
	}
	s.client, err = kgo.NewClient(append(s.connection[:len(s.connection):len(s.connection)],
		kgo.TransactionalID("lake-"+pipeline+"-"+shard),
		kgo.TransactionTimeout(transactionTime),
		kgo.RecordPartitioner(partitioner{markers: s.owner.markers}),
		kgo.ProducerLinger(0),
		kgo.ConcurrentTransactionsBackoff(2*time.Millisecond),
		kgo.UnknownTopicRetries(-1), // a topic just made is not known everywhere at once; the context is the limit
		kgo.MetadataMinAge(250*time.Millisecond),
	)...)
	if err != nil {
		return -1, err
	}
	if err := s.prepareTopics(ctx); err != nil {
		return -1, err
	}
	if err := s.checkEpoch(ctx); err != nil {
		return -1, err
	}
	// The client asks for its id lazily; older owners are to end before the marker is read.
	if _, _, err := s.client.ProducerID(ctx); err != nil {
		return -1, fmt.Errorf("fence older owners: %w", err)
	}
	s.seq, err = s.readMarker(ctx)
	return s.seq, err
}

// Deliver writes the answers and the marker in one transaction. A seq that the
// topics have already writes the marker anew and nothing else, which proves
// that the shard is still this owner's. Without answers it does nothing.
func (s *Sink) Deliver(ctx context.Context, d load.Delivery) (err error) {
	o := s.owner
	switch {
	case s.client == nil:
		return fmt.Errorf("deliver seq %d to kafka %s: open it first: it is not open, or failed", d.Seq, s.cluster.Name())
	case d.Pipeline != o.pipeline || d.Shard != o.shard || d.Epoch != o.epoch:
		return fmt.Errorf("deliver seq %d to kafka %s: it is open for %s/%s, epoch %d, not for %s/%s, epoch %d",
			d.Seq, s.cluster.Name(), o.pipeline, o.shard, o.epoch, d.Pipeline, d.Shard, d.Epoch)
	}
	writers, rows, err := s.writers(d)
	defer func() {
		for _, w := range writers {
			w.release()
		}
	}()
	if err != nil {
		return fmt.Errorf("deliver seq %d to kafka %s: %w", d.Seq, s.cluster.Name(), err)
	}
	if rows == 0 {
		return nil
	}
	seq, send := d.Seq, writers
	if d.Seq <= s.seq {
		seq, send = s.seq, nil
	}
	ctx, cancel := context.WithTimeout(ctx, transactionTime)
	defer cancel()
	if err := s.transact(ctx, o.marker(seq), send); err != nil {
		s.drop()
		return fmt.Errorf("deliver seq %d to kafka %s: %w", d.Seq, s.cluster.Name(), s.explain(ctx, err))
	}
	s.seq = seq
	return nil
}

// chunk is how many records are made and sent before their acknowledgement is waited for.
const chunk = 10_000

// transact commits the writers' records and last, all or none. After an error
// the client is of no use any more: only the marker tells whether it committed.
func (s *Sink) transact(ctx context.Context, last *kgo.Record, writers []*writer) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	client := s.client
	// The client would wait for records under way beyond the context.
	defer context.AfterFunc(ctx, client.UnsafeAbortBufferedRecords)()
	if err := client.BeginTransaction(); err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	send := func(records []*kgo.Record) error {
		if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return fmt.Errorf("produce: %w", err)
		}
		return untilKnown(ctx, client, records[len(records)-1])
	}
	err := func() error {
		for _, w := range writers {
			for w.more() {
				if err := send(w.next(chunk)); err != nil {
					return err
				}
			}
		}
		if err := send([]*kgo.Record{last}); err != nil {
			return err
		}
		faults.Point(faults.Sent)
		if err := client.EndTransaction(ctx, kgo.TryCommit); err != nil {
			return fmt.Errorf("commit transaction: %w", err)
		}
		faults.Point(faults.Ended)
		return nil
	}()
	if err != nil && !fenced(err) && ctx.Err() == nil {
		s.abort(ctx)
	}
	return err
}

// untilKnown waits until the client itself has taken in the partitions of a
// record's topic. It sends the first records to a topic a moment before it does,
// and EndTransaction finds what to end by the topics that it has: a commit that
// comes in between would be turned into an abort, without an error.
func untilKnown(ctx context.Context, client *kgo.Client, r *kgo.Record) error {
	taken := func() bool {
		leader, _, bad := client.PartitionLeader(r.Topic, r.Partition)
		return leader >= 0 || bad != nil // whatever has become of it
	}
	for !taken() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Microsecond):
		}
	}
	return nil
}

// abort tries to end the transaction, so that readers need not wait until it
// times out. It need not succeed: the next InitProducerId ends it, too.
func (s *Sink) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if s.client.AbortBufferedRecords(ctx) == nil {
		if err := s.client.EndTransaction(ctx, kgo.TryAbort); err != nil {
			s.opts.Log.Debug("the transaction was not aborted", "error", err)
		}
	}
}

func (s *Sink) drop() {
	if s.client != nil {
		s.client.Close()
		s.client = nil
	}
}

// Close ends the connections. An owner that is gone is fenced by the next one's Open.
func (s *Sink) Close() error {
	s.drop()
	return nil
}

// explain names what an error means.
func (s *Sink) explain(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, ErrFenced):
		return err
	case fenced(err):
		return fmt.Errorf("%w: %w", ErrFenced, err)
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return s.cluster.Explain(err)
}

func fenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.InvalidProducerEpoch) ||
		errors.Is(err, kerr.InvalidProducerIDMapping) || errors.Is(err, kerr.InvalidTxnState)
}
