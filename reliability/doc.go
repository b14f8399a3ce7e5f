// Package reliability shows that lake loses nothing and doubles nothing. It has
// tests only:
//
//   - stream_test.go makes records that carry their own topic partition and
//     offset, some of them broken, and writes them to a real Kafka.
//   - node_test.go runs lake as processes that can be killed, suspended, and
//     told to die at a named point; world_test.go is what they share.
//   - model_test.go says what the table, the dead letters and the topics must
//     hold, from the records alone.
//   - reader_test.go reads the table by pyiceberg and DuckDB and the topics by a
//     plain consumer: nothing of lake reads what lake wrote.
//   - checker_test.go compares the two and lists what it found.
//   - chaos_test.go kills and suspends at random; the catalogue's cases are in
//     the files named after them; mutations_test.go breaks the protocol on
//     purpose and wants the checker to see it.
//
// RELIABILITY.md says what is promised and how to repeat a run.
package reliability
