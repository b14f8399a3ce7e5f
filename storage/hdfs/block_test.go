package hdfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const testChunk = 512

// datanodeFake answers reads of one block as a datanode does: from the chunk on that has
// the first byte, to the end of the chunk with the last. Its messages are written by
// hand, without those of the library.
type datanodeFake struct {
	data   []byte
	packet int // bytes of data in each

	mu      sync.Mutex
	asked   [][2]int64 // offset and length
	joined  int        // connections
	corrupt bool       // a byte of the next packet is another one
	cut     int        // > 0: the connection ends after so many packets of the next read
	refuse  bool
	open    []net.Conn
}

func (d *datanodeFake) start(t *testing.T) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.joined++
			d.open = append(d.open, conn)
			d.mu.Unlock()
			all.Go(func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for d.serve(in, conn) == nil {
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		d.hangUp()
		all.Wait()
	})
	return l.Addr().String()
}

// hangUp ends the connections, as a datanode does with those that wait for too long.
func (d *datanodeFake) hangUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.open {
		conn.Close()
	}
	d.open = nil
}

func delimited(in *bufio.Reader) ([]byte, error) {
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, err
	}
	data := make([]byte, n)
	_, err = io.ReadFull(in, data)
	return data, err
}

func varint(out []byte, field protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(out, field, protowire.VarintType), value)
}

func (d *datanodeFake) serve(in *bufio.Reader, out io.Writer) error {
	head := make([]byte, 3)
	if _, err := io.ReadFull(in, head); err != nil {
		return err
	}
	request, err := delimited(in)
	if err != nil {
		return err
	}
	if !bytes.Equal(head, []byte{0, 28, 0x51}) {
		return io.ErrUnexpectedEOF
	}
	var off, n int64
	for rest := request; len(rest) > 0; { // fields 2 and 3, the offset and the length
		number, kind, size := protowire.ConsumeTag(rest)
		value := rest[size:]
		if kind == protowire.VarintType {
			v, _ := protowire.ConsumeVarint(value)
			switch number {
			case 2:
				off = int64(v)
			case 3:
				n = int64(v)
			}
		}
		rest = value[protowire.ConsumeFieldValue(number, kind, value):]
	}
	d.mu.Lock()
	d.asked = append(d.asked, [2]int64{off, n})
	corrupt, cut, refuse := d.corrupt, d.cut, d.refuse
	d.corrupt, d.cut = false, 0
	d.mu.Unlock()
	if refuse {
		_, err := out.Write(binary.AppendUvarint(nil, 2))
		if err == nil {
			_, err = out.Write(varint(nil, 1, 1)) // ERROR
		}
		return err
	}
	first, end := off/testChunk*testChunk, min((off+n+testChunk-1)/testChunk*testChunk, int64(len(d.data)))
	checksum := varint(varint(nil, 1, 2), 2, testChunk) // CRC32C
	info := varint(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), checksum), 2, uint64(first))
	answer := protowire.AppendBytes(protowire.AppendTag(varint(nil, 1, 0), 4, protowire.BytesType), info)
	if _, err := out.Write(append(binary.AppendUvarint(nil, uint64(len(answer))), answer...)); err != nil {
		return err
	}
	for sent, seqno := first, uint64(0); ; seqno++ {
		data := d.data[sent:min(sent+int64(d.packet), end)]
		header := protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), uint64(sent))
		header = protowire.AppendFixed64(protowire.AppendTag(header, 2, protowire.Fixed64Type), seqno)
		last := uint64(0)
		if len(data) == 0 {
			last = 1
		}
		header = varint(header, 3, last)
		header = protowire.AppendFixed32(protowire.AppendTag(header, 4, protowire.Fixed32Type), uint32(len(data)))
		var sums []byte
		for at := 0; at < len(data); at += testChunk {
			sums = binary.BigEndian.AppendUint32(sums, crc32.Checksum(data[at:min(at+testChunk, len(data))], crc32.MakeTable(crc32.Castagnoli)))
		}
		packet := binary.BigEndian.AppendUint32(nil, uint32(4+len(sums)+len(data)))
		packet = append(append(append(binary.BigEndian.AppendUint16(packet, uint16(len(header))), header...), sums...), data...)
		if corrupt && len(data) > 0 {
			packet[len(packet)-1] ^= 1
			corrupt = false
		}
		if _, err := out.Write(packet); err != nil {
			return err
		}
		if cut--; cut == 0 {
			return io.ErrUnexpectedEOF
		}
		if sent += int64(len(data)); len(data) == 0 {
			break
		}
	}
	status, err := delimited(in)
	if err == nil && !bytes.Equal(status, varint(nil, 1, 6)) { // CHECKSUM_OK
		err = io.ErrUnexpectedEOF
	}
	return err
}

func testBlock(t *testing.T, n int, at ...string) block {
	t.Helper()
	m, err := newMessage("LocatedBlockProto")
	require.NoError(t, err)
	id := message{m.Mutable(m.field("b")).Message()}
	id.set("poolId", protoreflect.ValueOfString("pool")).set("blockId", protoreflect.ValueOfUint64(7)).set("generationStamp", protoreflect.ValueOfUint64(1))
	token := message{m.Mutable(m.field("blockToken")).Message()}
	for _, name := range []protoreflect.Name{"identifier", "password"} {
		token.set(name, protoreflect.ValueOfBytes(nil))
	}
	for _, name := range []protoreflect.Name{"kind", "service"} {
		token.set(name, protoreflect.ValueOfString(""))
	}
	require.NoError(t, proto.CheckInitialized(token.Interface()))
	return block{bytes: int64(n), id: id.Message, token: token.Message, at: at}
}

func testPeers(t *testing.T) *peers {
	s := &peers{failed: map[string]time.Time{}}
	t.Cleanup(s.close)
	return s
}

// Any range of a block comes as it is, whatever chunks and packets it begins and
// ends in, over one connection, and no more is asked for than is wanted.
func TestBlockRanges(t *testing.T) {
	data := make([]byte, 10_000)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(data)
	d := &datanodeFake{data: data, packet: 4 * testChunk}
	b, s := testBlock(t, len(data), d.start(t)), testPeers(t)
	ranges := [][2]int64{{0, 10_000}, {0, 1}, {9_999, 1}, {511, 2}, {512, 512}, {700, 10}, {2047, 2}, {2048, 2048}, {100, 9_800}, {4096, 5904}}
	for _, r := range ranges {
		p := make([]byte, r[1])
		require.NoError(t, s.read(t.Context(), b, r[0], p))
		require.True(t, bytes.Equal(data[r[0]:r[0]+r[1]], p), "%d bytes at %d", r[1], r[0])
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	require.Equal(t, ranges, d.asked)
	require.Equal(t, 1, d.joined)
}

// A datanode whose bytes are not those of their checksums, that hangs up in the middle or
// refuses is passed over, and asked last for a while; bytes of one that fails reach nobody.
func TestBlockFailures(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1000)
	good, bad := &datanodeFake{data: data, packet: 4096}, &datanodeFake{data: data, packet: 4096}
	goodAt, badAt := good.start(t), bad.start(t)
	for name, c := range map[string]struct {
		fail  func()
		error string
	}{
		"corrupt": {func() { bad.corrupt = true }, "not those of their checksum"},
		"cut":     {func() { bad.cut = 2 }, "hung up"},
		"refused": {func() { bad.refuse = true }, "refuses: ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() { bad.refuse = false }()
			s, p := testPeers(t), make([]byte, len(data))
			c.fail()
			err := s.read(t.Context(), testBlock(t, len(data), badAt), 0, p)
			require.ErrorContains(t, err, c.error)
			require.ErrorContains(t, err, badAt)
			require.True(t, passing(err), "the namenode may know another one")
			require.NoError(t, s.read(t.Context(), testBlock(t, len(data), badAt, goodAt), 0, p))
			require.True(t, bytes.Equal(data, p))
			require.Equal(t, []string{goodAt, badAt}, s.order([]string{badAt, goodAt}))
		})
	}
	require.Len(t, good.asked, 3, "each time the good one was asked first")
}

// A connection that a datanode has closed while it waited is no failure of the datanode.
func TestBlockHungUp(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 3000)
	d := &datanodeFake{data: data, packet: 1024}
	b, s, p := testBlock(t, len(data), d.start(t)), testPeers(t), make([]byte, len(data))
	for range 3 {
		require.NoError(t, s.read(t.Context(), b, 0, p))
		d.hangUp()
	}
	require.Equal(t, 3, d.joined)
	require.Empty(t, s.failed)
}
