package ingest

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestPlace compares with the partitioner of a Kafka client: keys of all lengths,
// bytes of all values.
func TestPlace(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	by := kgo.StickyKeyPartitioner(nil).ForTopic("any")
	for i := range 5000 {
		key := make([]byte, i%41)
		for j := range key {
			key[j] = byte(random.Uint32())
		}
		partitions := 1 + random.IntN(300)
		require.Equal(t, by.Partition(&kgo.Record{Key: key}, partitions), place(key, partitions), "%x over %d", key, partitions)
	}
	require.Equal(t, -1, place([]byte("a"), 0))
	for name, want := range map[string]int{"Events/12": 12, "a/b/0": 0, "Events": -1, "Events/": -1} {
		require.Equal(t, want, partitionNumber(name), name)
	}
}
