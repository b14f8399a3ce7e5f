package reliability

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/faults"
)

// Case 19: the disk of the warehouse is full, in data, checkpoint, metadata or
// the catalog's database, whichever comes first. The run ends with 7 and what to
// do; with room again the next run goes on. The small disk is a mount in a
// namespace of its own; the warehouse is copied out of it to be read.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	ctx := limited(t, 3*time.Minute)
	w := newWorld(t, servers.Kafka(t), lake(t), seed(t), partitions)
	w.feed(ctx, 6000)
	w.seal(ctx)
	const script = `set -u
mkdir warehouse && mount -t tmpfs -o size=800k tmpfs warehouse || exit 99
"$LAKE" ingest job.yaml > first.txt 2>&1; echo "exit $?" >> first.txt
mount -o remount,size=400m warehouse || exit 99
for n in 1 2 3 4 5; do
  mount -o remount,size=$(( $(du -sk warehouse | cut -f1) + 300 ))k warehouse || exit 99
  "$LAKE" ingest job.yaml > again-$n.txt 2>&1; echo "exit $?" >> again-$n.txt
done
mount -o remount,size=400m warehouse || exit 99
"$LAKE" ingest job.yaml > last.txt 2>&1; echo "exit $?" >> last.txt
mkdir out && cp -a warehouse/. out/
`
	args := []string{"--mount", "sh", "-c", script}
	if os.Geteuid() != 0 {
		args = append([]string{"--map-root-user"}, args...)
	}
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.Dir, cmd.Env = w.dir, append(os.Environ(), "LAKE="+w.binary)
	out, err := cmd.CombinedOutput()
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("a small disk cannot be mounted here: %v: %s", err, out)
		}
		t.Skipf("a small disk cannot be mounted here: %v: %s", err, out)
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(w.dir, name))
		require.NoError(t, err)
		return string(data)
	}
	require.Regexp(t, "(?s)full.*exit 7", read("first.txt"))
	for n := range 5 {
		text := read(fmt.Sprintf("again-%d.txt", n+1))
		require.True(t, strings.Contains(text, "exit 7") || strings.Contains(text, "exit 0"), text)
	}
	require.Contains(t, read("last.txt"), "exit 0")
	require.NoError(t, os.RemoveAll(filepath.Join(w.dir, "warehouse")))
	require.NoError(t, os.Rename(filepath.Join(w.dir, "out"), filepath.Join(w.dir, "warehouse")))
	w.clean(ctx)
}

// unsynced makes local files that live in memory until they are synced, and
// names that appear only with a sync of their folder: what a machine that loses
// its power may keep at most. sync "" leaves the syncs as they are; the other
// form forgets them, as a mutation.
func unsynced(t *testing.T, forgets bool) string {
	data, err := os.ReadFile("../storage/local.go")
	require.NoError(t, err)
	text := string(data)
	edits := []edit{
		{"	n, err := w.file.Write(p)\n", "	n, err := unsyncedWrite(w.file, p)\n"},
		{"	if err := w.file.Sync(); err != nil {", "	if err := syncNow(w.file); err != nil {"},
		{"	if err := publish(temp, w.name); err != nil {", "	if err := publishLater(temp, w.name); err != nil {"},
		{"func syncFolder(name string) error {\n", "func syncFolder(name string) error {\n	if err := publishNow(name); err != nil {\n		return err\n	}\n"},
	}
	for _, e := range edits {
		require.Equal(t, 1, strings.Count(text, e.old), "storage/local.go has changed; mend the edit %q", e.old)
		text = strings.Replace(text, e.old, e.new, 1)
	}
	name := "unsynced"
	if forgets {
		name = "forgetful"
		const kept = "syncNow(w.file)"
		text = strings.Replace(text, kept, "error(nil)", 1)
	}
	return build(t, name, map[string]string{"storage/local.go": text, "storage/unsynced.go": unsyncedSource})
}

const unsyncedSource = `package storage

import (
	"os"
	"path/filepath"
	"sync"
)

// What is not synced is here only, and gone when the process is killed.
var (
	unsyncedMu sync.Mutex
	unsyncedData = map[*os.File][]byte{}
	unsyncedNames = map[string][][2]string{} // by folder
)

func unsyncedWrite(f *os.File, p []byte) (int, error) {
	unsyncedMu.Lock()
	defer unsyncedMu.Unlock()
	unsyncedData[f] = append(unsyncedData[f], p...)
	return len(p), nil
}

func syncNow(f *os.File) error {
	unsyncedMu.Lock()
	data := unsyncedData[f]
	delete(unsyncedData, f)
	unsyncedMu.Unlock()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

func publishLater(temp, name string) error {
	unsyncedMu.Lock()
	defer unsyncedMu.Unlock()
	folder := filepath.Dir(name)
	unsyncedNames[folder] = append(unsyncedNames[folder], [2]string{temp, name})
	return nil
}

func publishNow(folder string) error {
	unsyncedMu.Lock()
	names := unsyncedNames[folder]
	delete(unsyncedNames, folder)
	unsyncedMu.Unlock()
	for _, n := range names {
		if err := publish(n[0], n[1]); err != nil {
			return err
		}
	}
	return nil
}
`

// Case 20: the machine dies, and writes that were not synced are dropped: files
// are as they were at their last sync. SQLite has syncs of its own
// (synchronous=FULL) and is not simulated.
func TestUnsyncedWritesDropped(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	seed := seed(t)
	ctx := limited(t, 4*time.Minute)
	random := rand.New(rand.NewPCG(seed, 5))
	w := newWorld(t, servers.Kafka(t), unsynced(t, false), seed, partitions)
	for _, point := range []string{faults.Checkpointed, faults.Built, faults.Swapped, faults.Staged, faults.Delivered} {
		w.feed(ctx, 1200)
		w.ends(ctx, w.follow(fmt.Sprintf("LAKE_CRASH_AT=%s:%d", point, 2+random.IntN(2))), killed)
	}
	w.seal(ctx)
	w.finish(ctx)
	w.clean(ctx)
}

// And a lake that forgets to sync its files is found out.
func TestForgottenSyncIsCaught(t *testing.T) {
	onlyLong(t)
	t.Parallel()
	ctx := limited(t, 2*time.Minute)
	w := newWorld(t, servers.Kafka(t), unsynced(t, true), seed(t), partitions)
	w.feed(ctx, 1000)
	n := w.start(nil, "ingest")
	w.ends(ctx, n, person, retry)
	require.False(t, strings.Contains(n.said.all(), "panic"), "%s", n.said)
}
