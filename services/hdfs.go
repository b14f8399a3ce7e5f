package services

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// HadoopVersion is that of the namenode and the datanode.
const HadoopVersion = "3.4.1"

//go:embed hdfs.pom.xml
var hdfsPOM []byte

// HDFS is a namenode and a datanode, with simple authentication, or Kerberos where
// Options name a KDC, and without permissions. They take about 7 s and 400 MB. Its methods may be called at the
// same time.
type HDFS struct {
	home  home
	java  string
	jars  string // classpath
	flags []string
	block string // dfs.blocksize
	kdc   *KDC   // nil: without Kerberos
	ports hdfsPorts

	mu   sync.Mutex
	name *process
	data *process
}

type hdfsPorts struct{ rpc, web, data, dataWeb, dataRPC int }

// StartHDFS starts a namenode and a datanode, and waits until files can be
// written. Options.Settings go to hdfs-site.xml. The caller closes it.
func StartHDFS(ctx context.Context, o Options) (*HDFS, error) {
	h, err := startHDFS(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start HDFS: %w", err)
	}
	return h, nil
}

func startHDFS(ctx context.Context, o Options) (*HDFS, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	jars, err := installJars(ctx, o, "hdfs-"+HadoopVersion, hdfsPOM, "hadoop-hdfs-"+HadoopVersion+".jar")
	if err != nil {
		return nil, err
	}
	return attempts("hdfs", o, func(place home) (*HDFS, error) {
		// The namenode counts a block that no datanode took as on its way there for ten minutes,
		// at its full size: a hundred of 128 MB, and a disk of 12 GB is full to it.
		h := &HDFS{home: place, java: java, jars: filepath.Join(jars, "*"), flags: smallJVM, block: "16m", kdc: o.KDC}
		if o.Long {
			h.flags, h.block = longJVM, "128m"
		}
		return h, h.first(ctx, o.Settings)
	})
}

// first writes the configuration, formats the namenode's folder and starts both.
func (h *HDFS) first(ctx context.Context, settings map[string]string) error {
	ports, err := freePorts(5)
	if err != nil {
		return err
	}
	h.ports = hdfsPorts{ports[0], ports[1], ports[2], ports[3], ports[4]}
	if err := h.configure(settings); err != nil {
		return err
	}
	formatting, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if _, err := output(formatting, identity{}, h.home.dir, nil, h.args("namenode.NameNode", "-format", "-nonInteractive", "-force")...); err != nil {
		return err
	}
	if h.name, err = h.start("namenode.NameNode", h.Log()); err != nil {
		return err
	}
	if h.data, err = h.start("datanode.DataNode", h.DatanodeLog()); err != nil {
		return err
	}
	return h.ready(ctx)
}

func (h *HDFS) configure(settings map[string]string) error {
	conf := h.ConfDir()
	for _, app := range []string{"hdfs", "datanode"} { // the jars have no web pages, and the servers ask for them
		folder := filepath.Join(conf, "webapps", app, "WEB-INF")
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, "web.xml"), []byte("<web-app/>\n"), 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(conf, "log4j.properties"), []byte(hadoopLog), 0o644); err != nil {
		return err
	}
	// How old what it tells of itself may be, by default 10 s.
	if err := os.WriteFile(filepath.Join(conf, "hadoop-metrics2.properties"), []byte("*.period=1\n"), 0o644); err != nil {
		return err
	}
	core := map[string]string{
		"fs.defaultFS":   "hdfs://" + h.Address(),
		"hadoop.tmp.dir": filepath.Join(h.home.dir, "tmp"),
	}
	maps.Copy(core, h.kdc.core())
	if err := writeHadoopXML(filepath.Join(conf, "core-site.xml"), core); err != nil {
		return err
	}
	local := func(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
	all := map[string]string{
		"dfs.replication":                                      "1",
		"dfs.blocksize":                                        h.block,
		"dfs.permissions.enabled":                              "false",
		"dfs.namenode.name.dir":                                "file://" + filepath.Join(h.home.dir, "name"),
		"dfs.datanode.data.dir":                                "file://" + filepath.Join(h.home.dir, "data"),
		"dfs.namenode.rpc-bind-host":                           "127.0.0.1",
		"dfs.namenode.http-address":                            local(h.ports.web),
		"dfs.datanode.address":                                 local(h.ports.data),
		"dfs.datanode.http.address":                            local(h.ports.dataWeb),
		"dfs.datanode.ipc.address":                             local(h.ports.dataRPC),
		"dfs.datanode.hostname":                                "127.0.0.1",
		"dfs.namenode.safemode.extension":                      "0",
		"dfs.namenode.datanode.registration.ip-hostname-check": "false",
		// A datanode that is gone is noticed after 12 s, by default 10 minutes, and
		// one that comes back sooner.
		"dfs.heartbeat.interval":                  "1s",
		"dfs.namenode.heartbeat.recheck-interval": "1000",
	}
	maps.Copy(all, h.kdc.hdfs())
	maps.Copy(all, settings)
	return writeHadoopXML(filepath.Join(conf, "hdfs-site.xml"), all)
}

const hadoopLog = `log4j.rootLogger=WARN,out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %-5p %c{2}: %m%n
`

// args are the command line of one of the two.
func (h *HDFS) args(class string, more ...string) []string {
	args := append([]string{h.java, "-Xmx256m"}, h.flags...)
	args = append(args, h.kdc.jvm()...)
	args = append(args, "-Djava.net.preferIPv4Stack=true", "-Dhadoop.log.dir="+filepath.Join(h.home.dir, "log"),
		"--add-opens=java.base/java.lang=ALL-UNNAMED", "-cp", h.ConfDir()+":"+h.jars, "org.apache.hadoop.hdfs.server."+class)
	return append(args, more...)
}

func (h *HDFS) start(class, log string) (*process, error) {
	return start(command{args: h.args(class), dir: h.home.dir, log: log, death: syscall.SIGKILL})
}

// ready waits until the namenode serves and has its datanode. A datanode that
// died is told by the one of the two that is asked for.
func (h *HDFS) ready(ctx context.Context) error {
	return await(ctx, h.name, func(ctx context.Context) error {
		select {
		case <-h.data.done:
			return fmt.Errorf("the datanode ended (%w): %s", h.data.ended(), tail(h.data.log))
		default:
		}
		return h.answers(ctx)
	})
}

// answers is nil once the namenode is out of its safe mode and a datanode that
// registered since the last start is there.
func (h *HDFS) answers(ctx context.Context) error {
	var state struct {
		Beans []struct {
			NumLiveDataNodes int
			FSState          string
		} `json:"beans"`
	}
	if err := bean(ctx, h.ports.web, "Hadoop:service=NameNode,name=FSNamesystemState", &state); err != nil {
		return err
	}
	if len(state.Beans) != 1 || state.Beans[0].NumLiveDataNodes < 1 || state.Beans[0].FSState != "Operational" {
		return fmt.Errorf("its state is %+v", state.Beans)
	}
	// The namenode believes in a killed datanode for a while: ask that one itself.
	var data struct {
		Beans []struct{ BPServiceActorInfo string } `json:"beans"`
	}
	if err := bean(ctx, h.ports.dataWeb, "Hadoop:service=DataNode,name=DataNodeInfo", &data); err != nil {
		return err
	}
	if len(data.Beans) != 1 || !strings.Contains(data.Beans[0].BPServiceActorInfo, `"ActorState":"RUNNING"`) {
		return errors.New("the datanode is not registered yet")
	}
	return nil
}

// Calls are how often clients, and the datanode, called the namenode since it
// started, by method: create, addBlock, rename2 … The namenode counts them each
// second; this waits until it has.
func (h *HDFS) Calls(ctx context.Context) (map[string]int, error) {
	counted := time.NewTimer(2500 * time.Millisecond)
	defer counted.Stop()
	select {
	case <-counted.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	var beans struct {
		Beans []map[string]json.RawMessage `json:"beans"`
	}
	if err := bean(ctx, h.ports.web, fmt.Sprintf("Hadoop:service=NameNode,name=RpcDetailedActivityForPort%d", h.ports.rpc), &beans); err != nil {
		return nil, fmt.Errorf("ask the namenode for its calls: %w", err)
	}
	calls := map[string]int{}
	for _, b := range beans.Beans {
		for key, value := range b {
			name, ok := strings.CutSuffix(key, "NumOps")
			n, err := strconv.Atoi(string(value))
			if ok && err == nil && n > 0 {
				calls[strings.ToLower(name[:1])+name[1:]] = n
			}
		}
	}
	if len(calls) == 0 {
		return nil, errors.New("ask the namenode for its calls: it tells none")
	}
	return calls, nil
}

// bean asks a daemon for one of its beans.
func bean(ctx context.Context, port int, name string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/jmx?qry=%s", port, name), nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	reply, err := client.Do(req)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	return json.NewDecoder(io.LimitReader(reply.Body, 1<<20)).Decode(into)
}

// Address is the namenode's, host:port.
func (h *HDFS) Address() string { return "127.0.0.1:" + strconv.Itoa(h.ports.rpc) }

// URI is the filesystem's, hdfs://host:port.
func (h *HDFS) URI() string { return "hdfs://" + h.Address() }

// ConfDir has core-site.xml and hdfs-site.xml: what HADOOP_CONF_DIR names.
func (h *HDFS) ConfDir() string { return filepath.Join(h.home.dir, "conf") }

// Log is the path of the namenode's log.
func (h *HDFS) Log() string { return h.home.log() }

// DatanodeLog is the path of the datanode's log.
func (h *HDFS) DatanodeLog() string { return filepath.Join(h.home.dir, "datanode.log") }

// PID is the namenode's process, while it runs.
func (h *HDFS) PID() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.name.pid
}

// KillNamenode ends the namenode with SIGKILL; its data stay.
func (h *HDFS) KillNamenode() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.name.kill()
}

// KillDatanode ends the datanode with SIGKILL; its blocks stay.
func (h *HDFS) KillDatanode() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.data.kill()
}

// Kill ends both with SIGKILL.
func (h *HDFS) Kill() error { return errors.Join(h.KillDatanode(), h.KillNamenode()) }

// Restart stops what runs of the two, starts both on the same ports and data,
// and waits until files can be written.
func (h *HDFS) Restart(ctx context.Context) error { return h.restart(ctx, true, true) }

// RestartNamenode does so with the namenode alone; the datanode must run.
func (h *HDFS) RestartNamenode(ctx context.Context) error { return h.restart(ctx, true, false) }

// RestartDatanode does so with the datanode alone; the namenode must run.
func (h *HDFS) RestartDatanode(ctx context.Context) error { return h.restart(ctx, false, true) }

func (h *HDFS) restart(ctx context.Context, name, data bool) (err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() {
		if err != nil {
			err = fmt.Errorf("restart HDFS: %w", err)
		}
	}()
	if data {
		if err = h.data.stop(syscall.SIGTERM, 30*time.Second); err != nil {
			return err
		}
	}
	if name {
		if err = h.name.stop(syscall.SIGTERM, 30*time.Second); err != nil {
			return err
		}
		if h.name, err = h.start("namenode.NameNode", h.Log()); err != nil {
			return err
		}
	}
	if data {
		if h.data, err = h.start("datanode.DataNode", h.DatanodeLog()); err != nil {
			return err
		}
	}
	return h.ready(ctx)
}

// Close stops both, and removes their data where Options.Dir was "".
func (h *HDFS) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	end := h.home.killedIfTemporary(asked(syscall.SIGTERM, 30*time.Second))
	for _, p := range []*process{h.data, h.name} {
		if p != nil {
			errs = append(errs, end(p))
		}
	}
	errs = append(errs, h.home.remove())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop HDFS: %w", err)
	}
	return nil
}
