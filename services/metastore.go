package services

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// MetastoreVersion is that of the Hive Metastore. Later ones no longer have the
// call get_table, which Hive 3 and 4.0.0 clients use.
const MetastoreVersion = "4.0.0"

//go:embed metastore.pom.xml
var metastorePOM []byte

// Metastore is a standalone Hive Metastore on an embedded Derby database. It
// takes about 9 s and 300 MB. Its methods may be called at the same time.
type Metastore struct {
	home home
	java string
	dist string // folder of the installed jars
	port int

	mu sync.Mutex
	p  *process
}

// StartMetastore starts a metastore and waits until it answers.
// Options.Settings go to metastore-site.xml. The caller closes it.
func StartMetastore(ctx context.Context, o Options) (*Metastore, error) {
	m, err := startMetastore(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start the Hive Metastore: %w", err)
	}
	return m, nil
}

func startMetastore(ctx context.Context, o Options) (*Metastore, error) {
	java, err := tool("java", "openjdk-17-jre-headless")
	if err != nil {
		return nil, err
	}
	dist, err := installMetastore(ctx, o)
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		place, err := newHome("metastore", o)
		if err != nil {
			return nil, err
		}
		m := &Metastore{home: place, java: java, dist: dist}
		err = m.first(ctx, o.Settings)
		if err == nil {
			return m, nil
		}
		// Another process may have taken the port in between.
		taken := strings.Contains(err.Error(), "Address already in use")
		err = errors.Join(err, m.Close())
		if !taken || attempt == 3 || !place.temporary {
			return nil, err
		}
	}
}

// installMetastore returns a folder with the metastore (lib, scripts) and, in
// hadoop, what it expects of Hadoop.
func installMetastore(ctx context.Context, o Options) (string, error) {
	cache, err := cacheFolder()
	if err != nil {
		return "", err
	}
	return install(ctx, cache, "metastore-"+MetastoreVersion, o, func(ctx context.Context, folder string) error {
		if err := fetchJars(ctx, metastorePOM, filepath.Join(folder, "hadoop")); err != nil {
			return err
		}
		mvn, err := tool("mvn", "maven")
		if err != nil {
			return err
		}
		tar, err := tool("tar", "tar")
		if err != nil {
			return err
		}
		// The plain jar has no scripts for the database: the archive has them.
		const archive = "hive-standalone-metastore-server"
		if _, err := output(ctx, identity{}, folder, nil, mvn, "-q", "-B", "-ntp", "-C", mavenPlugin+"copy",
			"-Dartifact=org.apache.hive:"+archive+":"+MetastoreVersion+":tar.gz:bin", "-DoutputDirectory="+folder); err != nil {
			return err
		}
		file := filepath.Join(folder, archive+"-"+MetastoreVersion+"-bin.tar.gz")
		if _, err := output(ctx, identity{}, folder, nil, tar, "-xzf", file, "--strip-components=1"); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(folder, "scripts", "metastore", "upgrade", "derby")); err != nil {
			return err
		}
		return os.Remove(file)
	})
}

// first writes the configuration, makes the database and starts the server.
func (m *Metastore) first(ctx context.Context, settings map[string]string) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	m.port = ports[0]
	if err := os.MkdirAll(m.file("conf"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(m.file("conf/log4j2.properties"), []byte(metastoreLog), 0o644); err != nil {
		return err
	}
	all := map[string]string{
		"javax.jdo.option.ConnectionURL":        "jdbc:derby:;databaseName=" + m.file("db") + ";create=true",
		"javax.jdo.option.ConnectionDriverName": "org.apache.derby.jdbc.EmbeddedDriver",
		"metastore.warehouse.dir":               "file://" + m.file("warehouse"),
		"metastore.warehouse.external.dir":      "file://" + m.file("external"),
		"metastore.thrift.uris":                 m.URI(),
		"metastore.thrift.bind.host":            "127.0.0.1",
		"metastore.thrift.port":                 strconv.Itoa(m.port),
		"metastore.task.threads.always":         "org.apache.hadoop.hive.metastore.events.EventCleanerTask",
		"metastore.expression.proxy":            "org.apache.hadoop.hive.metastore.DefaultPartitionExpressionProxy",
		// Alters that race deadlock in Derby: the loser tries again soon, not in 2 s.
		"metastore.hmshandler.retry.interval": "100ms",
	}
	maps.Copy(all, settings)
	if err := writeHadoopXML(m.file("conf/metastore-site.xml"), all); err != nil {
		return err
	}
	making, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if _, err := output(making, identity{}, m.home.dir, m.env(), m.args("tools.schematool.MetastoreSchemaTool", "-dbType", "derby", "-initSchema")...); err != nil {
		return err
	}
	return m.start(ctx)
}

const metastoreLog = `status=WARN
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c{2}: %m%n
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
`

func (m *Metastore) file(name string) string { return filepath.Join(m.home.dir, name) }

func (m *Metastore) env() []string { return []string{"METASTORE_HOME=" + m.dist} }

func (m *Metastore) args(class string, more ...string) []string {
	args := append([]string{m.java, "-Xmx384m"}, smallJVM...)
	args = append(args, "-Dlog4j.configurationFile="+m.file("conf/log4j2.properties"), "-Djava.net.preferIPv4Stack=true",
		"-Dderby.stream.error.file="+m.file("derby.log"), "-Dderby.locks.deadlockTimeout=1", "-Dderby.locks.waitTimeout=5",
		"-cp", strings.Join([]string{m.file("conf"), filepath.Join(m.dist, "lib", "*"), filepath.Join(m.dist, "hadoop", "*")}, ":"),
		"org.apache.hadoop.hive.metastore."+class)
	return append(args, more...)
}

func (m *Metastore) start(ctx context.Context) error {
	p, err := start(command{args: m.args("HiveMetaStore", "-p", strconv.Itoa(m.port)), env: m.env(), dir: m.home.dir, log: m.Log(), death: syscall.SIGKILL})
	if err != nil {
		return err
	}
	m.p = p
	// The port opens when the server serves.
	return await(ctx, p, func(ctx context.Context) error {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", m.address())
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func (m *Metastore) address() string { return "127.0.0.1:" + strconv.Itoa(m.port) }

// URI is what clients connect to, thrift://host:port.
func (m *Metastore) URI() string { return "thrift://" + m.address() }

// Log is the path of the server's log.
func (m *Metastore) Log() string { return m.home.log() }

// PID is the server's process, while it runs.
func (m *Metastore) PID() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.p.pid
}

// Kill ends the server with SIGKILL; its data stay. Restart brings it back.
func (m *Metastore) Kill() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.p.kill()
}

// Restart stops the server, cleanly where it runs, starts it on the same port
// and data, and waits until it answers.
func (m *Metastore) Restart(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := errors.Join(m.p.stop(syscall.SIGTERM, 30*time.Second), m.start(ctx)); err != nil {
		return fmt.Errorf("restart the Hive Metastore: %w", err)
	}
	return nil
}

// Suspend stops the server with SIGSTOP: its connections stay and nobody answers.
func (m *Metastore) Suspend() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.p.signal(syscall.SIGSTOP)
}

// Resume lets a suspended server go on.
func (m *Metastore) Resume() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.p.signal(syscall.SIGCONT)
}

// Close stops the server, and removes its data where Options.Dir was "".
func (m *Metastore) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	if m.p != nil {
		if m.home.temporary { // nobody reads its data any more
			err = m.p.kill()
		} else {
			err = m.p.stop(syscall.SIGTERM, 30*time.Second)
		}
	}
	if err := errors.Join(err, m.home.remove()); err != nil {
		return fmt.Errorf("stop the Hive Metastore: %w", err)
	}
	return nil
}
