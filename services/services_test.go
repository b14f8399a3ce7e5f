package services

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// childVariable makes the test binary a process that starts servers and waits.
const childVariable = "LAKE_TEST_SERVERS_OF_A_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if err := child(); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// child starts both servers, prints their processes and waits to be killed.
func child() error {
	k, err := StartKafka(context.Background(), Options{})
	if err != nil {
		return err
	}
	p, err := StartPostgres(context.Background(), Options{})
	if err != nil {
		return err
	}
	os.Stdout.WriteString(strconv.Itoa(k.PID()) + " " + strconv.Itoa(p.PID()) + " " + k.home.dir + " " + p.home.dir + "\n")
	_, err = os.Stdin.Read(make([]byte, 1))
	return err
}

// canStart skips a test where a server cannot be started; a skip in CI fails.
func canStart(t *testing.T, err error) {
	t.Helper()
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("a server cannot be started here: ", err)
	}
	require.NoError(t, err)
}

func produce(ctx context.Context, t *testing.T, k *Kafka, value string) error {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(-1), kgo.DisableClientMetrics(), kgo.DialTimeout(time.Second))
	require.NoError(t, err)
	defer client.Close()
	return client.ProduceSync(ctx, &kgo.Record{Topic: "t", Key: []byte("k"), Value: []byte(value)}).FirstErr()
}

func values(t *testing.T, k *Kafka, n int) []string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(k.Brokers()...), kgo.ConsumeTopics("t"), kgo.DisableClientMetrics())
	require.NoError(t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out []string
	for len(out) < n {
		fetches := client.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) { out = append(out, string(r.Value)) })
	}
	return out
}

func TestKafka(t *testing.T) {
	k, err := StartKafka(t.Context(), Options{Settings: map[string]string{"num.partitions": "1"}})
	canStart(t, err)
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	address := k.Brokers()[0]
	require.NoError(t, produce(t.Context(), t, k, "a"))

	require.NoError(t, k.Suspend())
	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	require.Error(t, produce(short, t, k, "nobody hears this"))
	cancel()
	require.NoError(t, k.Resume())
	require.NoError(t, produce(t.Context(), t, k, "b"))

	before := k.PID()
	require.NoError(t, k.Kill())
	require.ErrorIs(t, syscall.Kill(before, 0), syscall.ESRCH)
	require.NoError(t, k.Kill(), "a second time is none")
	require.NoError(t, k.Restart(t.Context()))
	require.NotEqual(t, before, k.PID())
	require.Equal(t, address, k.Brokers()[0])
	require.Equal(t, []string{"a", "b"}, values(t, k, 2))

	require.NoError(t, k.Restart(t.Context()), "one that runs")
	require.NoError(t, produce(t.Context(), t, k, "c"))
	require.Equal(t, []string{"a", "b", "c"}, values(t, k, 3))
	log, err := os.ReadFile(k.Log())
	require.NoError(t, err)
	require.Equal(t, 3, strings.Count(string(log), "Kafka Server started"))

	last := k.PID()
	require.NoError(t, k.Close())
	require.ErrorIs(t, syscall.Kill(last, 0), syscall.ESRCH)
	require.NoDirExists(t, filepath.Dir(k.Log()))
}

func TestPostgres(t *testing.T) {
	p, err := StartPostgres(t.Context(), Options{Settings: map[string]string{"max_connections": "7"}})
	canStart(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	url := p.URL()
	do := func(url, query string) (out string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), url)
		require.NoError(t, err)
		defer conn.Close(t.Context())
		require.NoError(t, conn.QueryRow(t.Context(), query).Scan(&out))
		return out
	}
	require.Equal(t, "7", do(url, "SHOW max_connections"))
	require.Equal(t, "made", do(url, "WITH x AS (SELECT 'made') SELECT * FROM x"))
	other, err := p.CreateDatabase(t.Context(), `odd "name"`)
	require.NoError(t, err)
	require.Equal(t, `odd "name"`, do(other, "SELECT current_database()"))
	_, err = p.CreateDatabase(t.Context(), `odd "name"`)
	require.ErrorContains(t, err, "already exists")

	wrong := strings.Replace(url, p.password, "guess", 1)
	_, err = pgx.Connect(t.Context(), wrong)
	require.ErrorContains(t, err, "password authentication failed")

	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 42::text AS n")
	require.NoError(t, err)
	before := p.PID()
	require.NoError(t, p.Kill()) // with a connection: its child holds the memory for a moment
	require.ErrorIs(t, syscall.Kill(before, 0), syscall.ESRCH)
	require.NoError(t, p.Restart(t.Context()))
	require.Equal(t, url, p.URL())
	require.Equal(t, "42", do(url, "SELECT n FROM kept"))
	require.Error(t, conn.Ping(t.Context()))
	require.NoError(t, conn.Close(t.Context()))
	require.NoError(t, p.Restart(t.Context()), "one that runs")
	require.Equal(t, "42", do(url, "SELECT n FROM kept"))

	require.NoError(t, p.Close())
	require.NoDirExists(t, filepath.Dir(p.Log()))
}

func TestFolderOfOnesOwnIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pg")
	p, err := StartPostgres(t.Context(), Options{Dir: dir})
	canStart(t, err)
	require.NoError(t, p.Close())
	require.FileExists(t, filepath.Join(dir, "server.log"))
	require.NoFileExists(t, filepath.Join(dir, "password"))
	_, err = StartPostgres(t.Context(), Options{Dir: dir})
	require.ErrorContains(t, err, "is not empty")
}

func TestServerThatDoesNotStart(t *testing.T) {
	p, err := StartPostgres(t.Context(), Options{})
	canStart(t, err)
	require.NoError(t, p.Close())
	_, err = StartPostgres(t.Context(), Options{Settings: map[string]string{"max_connections": "none"}})
	require.ErrorContains(t, err, `invalid value for parameter "max_connections"`, "the log's end is in the error")
	if _, err := exec.LookPath("java"); err != nil {
		canStart(t, err)
	}
	k, err := StartKafka(t.Context(), Options{Settings: map[string]string{"node.id": "x"}})
	require.ErrorContains(t, err, "Invalid value x for configuration")
	require.Nil(t, k)
}

// The servers of a process that is killed end, without anybody who stops them.
func TestEndsWithTheProcess(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.Stderr = os.Stderr
	_, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		canStart(t, errors.Join(err, cmd.Wait()))
	}
	words := strings.Fields(line)
	require.Len(t, words, 4)
	defer os.RemoveAll(words[2])
	defer os.RemoveAll(words[3])
	var alive []unix.PollFd
	for _, word := range words[:2] {
		pid, err := strconv.Atoi(word)
		require.NoError(t, err)
		fd, err := unix.PidfdOpen(pid, 0)
		require.NoError(t, err)
		defer unix.Close(fd)
		alive = append(alive, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	n, err := unix.Poll(alive, 0)
	require.NoError(t, err)
	require.Zero(t, n, "both run")

	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for i := range alive {
		for { // each ends
			n, err := unix.Poll(alive[i:i+1], 20_000)
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			require.NoError(t, err)
			require.Equal(t, 1, n, "process %s lives on", words[i])
			break
		}
	}
}

func TestInstallOnce(t *testing.T) {
	cache := t.TempDir()
	// What a killed process left.
	require.NoError(t, os.MkdirAll(filepath.Join(cache, "server-1.part", "half"), 0o755))
	var fetched atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			folder, err := install(t.Context(), cache, "server-1", Options{}, func(_ context.Context, folder string) error {
				fetched.Add(1)
				if _, err := os.Stat(filepath.Join(cache, "server-1")); err == nil {
					return errors.New("it is there while it is fetched")
				}
				return os.WriteFile(filepath.Join(folder, "jar"), nil, 0o644)
			})
			if err != nil || folder != filepath.Join(cache, "server-1") {
				t.Error(folder, err)
			}
		})
	}
	all.Wait()
	require.Equal(t, int64(1), fetched.Load())
	entries, err := os.ReadDir(filepath.Join(cache, "server-1"))
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestInstallTriesAgain(t *testing.T) {
	cache := t.TempDir()
	var said strings.Builder
	n := 0
	_, err := install(t.Context(), cache, "server-1", Options{Log: &said}, func(_ context.Context, folder string) error {
		n++
		if n == 1 {
			return errors.Join(os.WriteFile(filepath.Join(folder, "half"), nil, 0o644), errors.New("the registry is away"))
		}
		return nil
	})
	require.NoError(t, err)
	require.Contains(t, said.String(), "the registry is away; once more in 2s")
	require.NoFileExists(t, filepath.Join(cache, "server-1", "half"))
}

// A process that waits for another one's download waits as long as it is let.
func TestInstallHasALimit(t *testing.T) {
	cache := t.TempDir()
	unlock, err := lock(t.Context(), filepath.Join(cache, "server-1.lock"))
	require.NoError(t, err)
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = install(ctx, cache, "server-1", Options{}, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "held by another process")
}

func TestMissingPrograms(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := StartKafka(t.Context(), Options{})
	require.ErrorContains(t, err, "java is not installed: install it (Debian: apt-get install openjdk-17-jre-headless)")
	err = fetchPostgres(t.Context(), t.TempDir(), "")
	require.ErrorContains(t, err, "apt-get is not installed")
}

func TestNewestPostgres(t *testing.T) {
	root := t.TempDir()
	require.Empty(t, newestPostgres(root))
	for _, version := range []string{"9", "15", "17", "contrib"} {
		dir := filepath.Join(root, "usr/lib/postgresql", version, "bin")
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "initdb"), nil, 0o755))
	}
	require.Equal(t, filepath.Join(root, "usr/lib/postgresql/17/bin"), newestPostgres(root))
}
