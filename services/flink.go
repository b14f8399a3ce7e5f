package services

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// FlinkVersion is that of the cluster and of its SQL gateway.
const FlinkVersion = "2.1.3"

// Flink is a session cluster of one job manager and one task manager, and a SQL
// gateway. The three take about 10 s and 900 MB, their files on disk 260 MB. Its
// methods may be called at the same time; Kill, Restart, Suspend and Resume are of
// the gateway alone.
type Flink struct {
	server
	java    string
	path    string // of classes
	cluster []*process
}

// StartFlink starts a cluster and its SQL gateway and waits until both answer and
// the cluster has slots. Options.Settings go to config.yaml; a task heap that they
// set is that of the task manager's JVM. The caller closes it.
func StartFlink(ctx context.Context, o Options) (*Flink, error) {
	f, err := startFlink(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start Flink: %w", err)
	}
	return f, nil
}

func startFlink(ctx context.Context, o Options) (*Flink, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	jars, err := installFlink(ctx, o)
	if err != nil {
		return nil, err
	}
	return attempts("flink", o, func(place home) (*Flink, error) {
		f := &Flink{java: java, path: filepath.Join(jars, "*"), server: newServer("Flink", place, syscall.SIGTERM, 10*time.Second)}
		f.run = f.gateway
		if o.Classpath != "" {
			f.path += string(filepath.ListSeparator) + o.Classpath
		}
		return f, f.first(ctx, o.Settings)
	})
}

// first writes the configuration and starts the three.
func (f *Flink) first(ctx context.Context, settings map[string]string) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	f.port = ports[0]
	for _, folder := range []string{"conf", "tmp"} {
		if err := os.MkdirAll(f.file(folder), 0o755); err != nil {
			return err
		}
	}
	all := map[string]string{
		"sql-gateway.endpoint.rest.address":      "127.0.0.1",
		"sql-gateway.endpoint.rest.bind-address": "127.0.0.1",
		"sql-gateway.endpoint.rest.port":         strconv.Itoa(f.port),
		"sql-gateway.endpoint.rest.bind-port":    strconv.Itoa(f.port),
		"jobmanager.rpc.address":                 "127.0.0.1",
		"jobmanager.rpc.port":                    strconv.Itoa(ports[1]),
		"jobmanager.bind-host":                   "127.0.0.1",
		"rest.address":                           "127.0.0.1",
		"rest.bind-address":                      "127.0.0.1",
		"rest.port":                              strconv.Itoa(ports[2]),
		"taskmanager.bind-host":                  "127.0.0.1",
		"taskmanager.host":                       "127.0.0.1",
		"taskmanager.numberOfTaskSlots":          "4",
		"parallelism.default":                    "1",
		"web.submit.enable":                      "false",
		"io.tmp.dirs":                            f.file("tmp"),
		// A task manager that is up before the job manager would wait 10 s.
		"cluster.registration.error-delay": "500ms",
		// Without Flink's shell scripts each part of the memory is given by hand.
		"taskmanager.cpu.cores":                      "2.0",
		"taskmanager.memory.framework.heap.size":     "128m",
		"taskmanager.memory.task.heap.size":          "256m",
		"taskmanager.memory.task.off-heap.size":      "0m",
		"taskmanager.memory.framework.off-heap.size": "128m",
		"taskmanager.memory.network.min":             "64m",
		"taskmanager.memory.network.max":             "64m",
		"taskmanager.memory.managed.size":            "64m",
		"taskmanager.memory.jvm-metaspace.size":      "256m",
		"taskmanager.memory.jvm-overhead.min":        "192m",
		"taskmanager.memory.jvm-overhead.max":        "192m",
		"state.backend.type":                         "hashmap",
		"execution.checkpointing.storage":            "filesystem",
		"execution.checkpointing.dir":                "file://" + f.file("checkpoints"),
		"heartbeat.interval":                         "2s",
		"heartbeat.timeout":                          "30s",
		"restart-strategy.type":                      "none",
	}
	maps.Copy(all, settings)
	var conf strings.Builder
	for _, key := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&conf, "%s: %q\n", key, all[key])
	}
	if err := os.WriteFile(f.file("conf/config.yaml"), []byte(conf.String()), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(f.file("conf/log4j.properties"), []byte(metastoreLog), 0o644); err != nil {
		return err
	}
	for _, part := range []struct{ log, memory, class string }{
		{"jobmanager.log", "-Xmx512m", "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"},
		{"taskmanager.log", "-Xmx" + cmp.Or(settings["taskmanager.memory.task.heap.size"], "512m"), "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"},
	} {
		p, err := f.begin(part.log, part.memory, part.class, "--configDir", f.file("conf"))
		if err != nil {
			return err
		}
		f.cluster = append(f.cluster, p)
	}
	// The gateway comes up meanwhile.
	if err := f.start(ctx); err != nil {
		return portTaken(err)
	}
	if err := await(ctx, f.cluster[0], f.hasSlots(all["rest.port"])); err != nil {
		return portTaken(fmt.Errorf("its job manager: %w; its task manager's %s", err, tail(f.file("taskmanager.log"))))
	}
	return nil
}

// portTaken says in the words of other servers that another process has the port.
func portTaken(err error) error {
	if strings.Contains(err.Error(), "BindException") {
		return fmt.Errorf("address already in use: %w", err)
	}
	return err
}

func (f *Flink) file(name string) string { return filepath.Join(f.home.dir, name) }

// begin starts one of the three.
func (f *Flink) begin(log, memory, class string, more ...string) (*process, error) {
	args := append([]string{f.java, memory, "-XX:MaxMetaspaceSize=256m"}, smallJVM...)
	args = append(args, opens("java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.lang.reflect", "java.text", "java.time",
		"java.util", "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks")...)
	args = append(args, "-Duser.timezone=UTC", "-Djava.net.preferIPv4Stack=true", "-Djava.io.tmpdir="+f.file("tmp"),
		"-Dlog4j.configurationFile="+f.file("conf/log4j.properties"), "-cp", f.path, class)
	return start(command{args: append(args, more...), env: []string{"FLINK_CONF_DIR=" + f.file("conf")}, dir: f.home.dir, log: f.file(log), death: syscall.SIGKILL})
}

func (f *Flink) gateway(ctx context.Context) (*process, error) {
	p, err := f.begin(filepath.Base(f.Log()), "-Xmx512m", "org.apache.flink.table.gateway.SqlGateway")
	if err != nil {
		return nil, err
	}
	return p, await(ctx, p, func(ctx context.Context) error { return healthy(ctx, f.Gateway()+"/v1/info") })
}

// hasSlots is nil once a task manager has offered its slots.
func (f *Flink) hasSlots(port string) func(context.Context) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+port+"/overview", http.NoBody)
		if err != nil {
			return err
		}
		reply, err := client.Do(request)
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		var overview struct {
			Slots int `json:"slots-total"`
		}
		if err := json.NewDecoder(reply.Body).Decode(&overview); err != nil {
			return err
		}
		if overview.Slots == 0 {
			return errors.New("no task manager has registered yet")
		}
		return nil
	}
}

// Gateway is the SQL gateway's, http://127.0.0.1:port; its API begins with /v1.
func (f *Flink) Gateway() string { return "http://127.0.0.1:" + strconv.Itoa(f.port) }

// Close stops the three, and removes their data where Options.Dir was "".
func (f *Flink) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, p := range append([]*process{f.p}, f.cluster...) {
		if p != nil {
			errs = append(errs, f.end(p))
		}
	}
	if err := errors.Join(append(errs, f.home.remove())...); err != nil {
		return fmt.Errorf("stop %s: %w", f.name, err)
	}
	return nil
}
