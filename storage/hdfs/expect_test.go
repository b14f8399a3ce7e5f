package hdfs

import (
	"bytes"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/colinmarc/hdfs/v2"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	"lake/services"
	"lake/storage"
)

// called are the calls of the namenode that something makes, of the kinds that find files.
func called(t *testing.T, h *services.HDFS, do func()) (listings, openings int) {
	t.Helper()
	before, err := h.Calls(t.Context())
	require.NoError(t, err)
	do()
	after, err := h.Calls(t.Context())
	require.NoError(t, err)
	return after["getListing"] - before["getListing"], after["getBlockLocations"] - before["getBlockLocations"]
}

// some writes files of a folder and tells their URIs.
func some(t *testing.T, files *FS, folder string, n int) (uris []string) {
	t.Helper()
	for i := range n {
		uris = append(uris, fmt.Sprintf("%s/%02d", folder, i))
		require.NoError(t, storage.WriteFile(t.Context(), files, uris[i], testContent(i)))
	}
	return uris
}

func testContent(i int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%07d\n", i)), 100+i) }

func readSome(t *testing.T, files *FS, uris []string) {
	t.Helper()
	for _, uri := range uris {
		var i int
		_, err := fmt.Sscanf(uri[len(uri)-2:], "%d", &i)
		require.NoError(t, err)
		data, err := storage.ReadFile(t.Context(), files, uri)
		require.NoError(t, err)
		require.True(t, bytes.Equal(testContent(i), data), uri)
	}
}

// Many files of a folder are found by one call, for one opening each; few by theirs. Of a folder that
// holds much else only the begin is listed.
func TestExpect(t *testing.T) {
	h := servers.HDFS(t)
	files := of(t, h)
	root := h.URI() + "/" + uuid.NewString()
	many, few := some(t, files, root+"/many", 12), some(t, files, root+"/few", fewExpected-1)
	listings, openings := called(t, h, func() {
		files.Expect(t.Context(), append(few, many...))
		readSome(t, files, many)
		readSome(t, files, few)
	})
	require.Equal(t, []int{1, fewExpected - 1}, []int{listings, openings})

	// The namenode says where 1,000 copies are at a time: those of two files.
	copies, err := Open(Config{Replication: 500}, environment(map[string]string{"HADOOP_CONF_DIR": h.ConfDir(), "HADOOP_USER_NAME": "etl"}))
	require.NoError(t, err)
	defer copies.Close()
	paged := some(t, copies, root+"/paged", 20)
	listings, openings = called(t, h, func() {
		files.Expect(t.Context(), paged[4:14])
		readSome(t, files, paged[4:14])
	})
	require.Equal(t, []int{5, 0}, []int{listings, openings})
	listings, openings = called(t, h, func() { // of 14 that are listed 3 are wanted
		wanted := append(paged[:3:3], paged[19])
		files.Expect(t.Context(), wanted)
		readSome(t, files, wanted)
		readSome(t, files, wanted[:2])
	})
	require.Equal(t, []int{7, 3}, []int{listings, openings}, "the last one, and two a second time")
}

// What was known before the opening may be wrong by then. A block's datanode has gone:
// the namenode is asked. A file was removed: it is missing, or still whole. Another has its name: what is read is
// one or the other, or nothing, and the next time it is the other.
func TestExpectStale(t *testing.T) {
	h := servers.HDFS(t)
	files := of(t, h)
	root := h.URI() + "/" + uuid.NewString()
	uris := some(t, files, root, 6)
	p, err := files.at(root)
	require.NoError(t, err)
	known := func() map[string]expectation {
		files.Expect(t.Context(), uris)
		p.expected.mu.Lock()
		defer p.expected.mu.Unlock()
		out := p.expected.by
		p.expected.by = nil
		require.Len(t, out, len(uris))
		return out
	}
	entries := known()
	again := func(uri string) ([]byte, error) { // by what was known first
		at, err := files.at(uri)
		require.NoError(t, err)
		p.expected.add(at.path, entries[at.path].located)
		return storage.ReadFile(t.Context(), files, uri)
	}
	for _, e := range entries {
		e.blocks[0].at = []string{"127.0.0.1:1"}
	}
	began := time.Now()
	for _, uri := range uris {
		_, err := again(uri)
		require.NoError(t, err)
	}
	require.Less(t, time.Since(began), time.Duration(len(uris))*minBackoff/2, "it is not waited for")
	readSome(t, files, uris)

	entries = known()
	client, err := hdfs.New(h.Address())
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.Remove(p.path+"/00"))
	for i, text := range map[int]string{1: "shorter", 2: string(bytes.Repeat([]byte("longer "), 1000)), 3: string(bytes.Repeat([]byte("y"), len(testContent(3))))} {
		other := fmt.Sprintf("%s/other%d", root, i)
		require.NoError(t, storage.WriteFile(t.Context(), files, other, []byte(text)))
		require.NoError(t, client.Rename(fmt.Sprintf("%s/other%d", p.path, i), fmt.Sprintf("%s/%02d", p.path, i))) // over it
		require.Eventually(t, func() bool {
			data, err := again(uris[i])
			if err == nil {
				require.True(t, bytes.Equal(testContent(i), data), "the datanode has not heard of it yet")
				return false
			}
			require.ErrorIs(t, err, errReplaced)
			require.ErrorIs(t, err, storage.ErrUnavailable)
			return true
		}, limit, tick)
		data, err := storage.ReadFile(t.Context(), files, uris[i])
		require.NoError(t, err)
		require.Equal(t, text, string(data))
	}
	require.Eventually(t, func() bool {
		data, err := again(uris[0])
		if err == nil {
			require.True(t, bytes.Equal(testContent(0), data))
			return false
		}
		require.ErrorIs(t, err, fs.ErrNotExist)
		return true
	}, limit, tick)
	entries[p.path+"/04"] = expectation{located: entries[p.path+"/04"].located, since: time.Now().Add(-expectTime)}
	p.expected.by = entries
	_, ok := p.expected.take(p.path + "/04")
	require.False(t, ok, "it is too long ago")
	_, ok = p.expected.take(p.path + "/05")
	require.True(t, ok)
	_, ok = p.expected.take(p.path + "/05")
	require.False(t, ok, "it is for one opening")
}

// Of the datanodes that a listing names this machine's own comes first, the others as they are listed.
func TestExpectNear(t *testing.T) {
	require.True(t, thisHost().has("127.0.0.1:9866"))
	require.False(t, thisHost().has("203.0.113.7:9866")) // of documents

	own := hosts{"10.0.0.3": true, "fd00::3": true, "node3": true}
	node := func(of *hdfs.FileStatus, host string) {
		all := message{message{of.ProtoReflect()}.Mutable(message{of.ProtoReflect()}.field("locations")).Message()}
		if blocks := all.Mutable(all.field("blocks")).List(); blocks.Len() == 0 {
			b := message{blocks.AppendMutable().Message()}
			b.set("offset", protoreflect.ValueOfUint64(0)).set("corrupt", protoreflect.ValueOfBool(false))
			message{b.Mutable(b.field("b")).Message()}.set("poolId", protoreflect.ValueOfString("pool")).set("blockId", protoreflect.ValueOfUint64(1)).
				set("generationStamp", protoreflect.ValueOfUint64(1)).set("numBytes", protoreflect.ValueOfUint64(7))
			all.set("fileLength", protoreflect.ValueOfUint64(7)).set("underConstruction", protoreflect.ValueOfBool(false)).set("isLastBlockComplete", protoreflect.ValueOfBool(true))
		}
		b := message{all.Mutable(all.field("blocks")).List().Get(0).Message()}
		at := message{b.Mutable(b.field("locs")).List().AppendMutable().Message()}
		message{at.Mutable(at.field("id")).Message()}.set("ipAddr", protoreflect.ValueOfString(host)).set("hostName", protoreflect.ValueOfString(host)).
			set("xferPort", protoreflect.ValueOfUint32(9866))
	}
	for _, each := range []struct {
		byHostname bool
		listed     []string
		at         []string
	}{
		{false, []string{"10.0.0.9", "10.0.0.2", "10.0.0.3"}, []string{"10.0.0.3:9866", "10.0.0.9:9866", "10.0.0.2:9866"}},
		{false, []string{"fd00:0:0:0:0:0:0:2", "fd00:0:0:0:0:0:0:3"}, []string{"[fd00:0:0:0:0:0:0:3]:9866", "[fd00:0:0:0:0:0:0:2]:9866"}},
		{true, []string{"node9", "node3"}, []string{"node3:9866", "node9:9866"}},
		{false, []string{"10.0.0.9", "10.0.0.2"}, []string{"10.0.0.9:9866", "10.0.0.2:9866"}},
	} {
		var status hdfs.FileStatus
		of := message{status.ProtoReflect()}
		of.set("fileType", protoreflect.ValueOfEnum(isFile)).set("length", protoreflect.ValueOfUint64(7))
		for _, host := range each.listed {
			node(&status, host)
		}
		where, ok := (&session{cluster: &cluster{own: own}, byHostname: each.byHostname}).listed(&status)
		require.True(t, ok)
		require.Equal(t, each.at, where.blocks[0].at)
	}
}
