// Package services starts real servers without Docker, for tests and for trying
// things out: Kafka (one KRaft broker), PostgreSQL, Google Cloud Storage and
// BigQuery (emulators), S3, HDFS, a Hive Metastore, HiveServer2, the Spark
// Thrift Server, Flink and a KDC. What a server needs is fetched once from the package
// registries, pinned, into the user's cache folder. A server listens on
// 127.0.0.1 at ports that are free, keeps its data in a folder of its own, and
// ends with the process that started it, also where that is killed.
package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Options say where a server lies and how it is set.
type Options struct {
	// Dir holds data and log: an empty folder or one to be made. "" is a temporary
	// folder, removed by Close.
	Dir string
	// Log is told of what takes its time (downloads) in lines; nil for nobody.
	// The server's own log is a file, see the method Log.
	Log io.Writer
	// Settings are added to the server's own (server.properties, postgresql.conf, flags) and win.
	Settings map[string]string
	// Long is for an HDFS, or a store of objects, that is worked hard: the one compiles
	// all that it can, and starts later, the other takes more memory before it collects, and
	// the S3 server keeps connections and says nothing of requests. By default they are
	// made for tests.
	Long bool
	// Classpath is more for Flink's, as java takes it: "folder/*". A connector's jars.
	Classpath string
	// KDC is whom an HDFS, a Hive Metastore or a HiveServer2 asks who its clients
	// are; nil: they believe anybody. It runs as long as they do.
	KDC *KDC
	// Keystore is that with which a Hive Metastore or a HiveServer2 speaks TLS; nil:
	// it does not.
	Keystore *Keystore
}

func (o Options) logf(format string, args ...any) {
	if o.Log != nil {
		fmt.Fprintf(o.Log, format+"\n", args...)
	}
}

// startLimit bounds a start, installation apart.
const startLimit = 3 * time.Minute

// home is a server's folder.
type home struct {
	dir       string
	temporary bool
}

// newHome makes the folder of the options ready.
func newHome(name string, o Options) (home, error) {
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "lake-"+name+"-")
		return home{dir, true}, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return home{}, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return home{}, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return home{}, err
	}
	if len(entries) > 0 {
		return home{}, fmt.Errorf("folder %s is not empty: choose another one", dir)
	}
	return home{dir, false}, nil
}

func (h home) remove() error {
	if !h.temporary {
		return nil
	}
	return os.RemoveAll(h.dir)
}

func (h home) log() string { return filepath.Join(h.dir, "server.log") }

// Ports of servers lie below those that a system gives to connections and to listeners
// that name none (on Linux from 32768 on): such a one could have a server's while that is
// down to be restarted.
const firstPort, portCount = 20_000, 12_000

// freePorts are n ports that nobody listens at. Another process may take one
// before the server does: a start that fails is tried again with others.
func freePorts(n int) (ports []int, err error) {
	for tries := 0; len(ports) < n; tries++ {
		port := firstPort + rand.IntN(portCount)
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp4", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			if tries < portCount {
				continue
			}
			return nil, err
		}
		defer l.Close() // all are held until all are known
		ports = append(ports, port)
	}
	return ports, nil
}

// missingTool is a program that has to be installed by hand.
type missingTool struct {
	name, debian string
}

func (m *missingTool) Error() string {
	return fmt.Sprintf("%s is not installed: install it (Debian: apt-get install %s)", m.name, m.debian)
}

// findJava is the program that runs the servers of the JVM.
func findJava() (string, error) { return tool("java", "openjdk-17-jre-headless") }

// tool finds a program, or says what to install.
func tool(name, debian string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", &missingTool{name, debian}
	}
	return path, nil
}

// await asks again and again until the server answers, died or the context ends.
func await(ctx context.Context, p *process, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		one, end := context.WithTimeout(ctx, 5*time.Second)
		err := ask(one)
		end()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("it ended (%w): %s", p.ended(), tail(p.log))
		case <-ctx.Done():
			return fmt.Errorf("it does not answer (%w): %s", errors.Join(context.Cause(ctx), err), tail(p.log))
		case <-tick.C:
		}
	}
}

// tail is the end of a log, for an error.
func tail(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	const most = 2000
	if len(data) > most {
		data = data[len(data)-most:]
	}
	return "its log ends with:\n" + string(data)
}
