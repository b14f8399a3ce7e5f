package services

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed hiveserver.pom.xml
var hiveServerPOM []byte

// hadoopUser is who a test is on HDFS. A server that makes files of its own is who runs it.
const hadoopUser = "HADOOP_USER_NAME"

// HiveServer is a HiveServer2 with a metastore of its own. Its queries are run by
// Tez within it. Both take about 15 s and 900 MB. Its methods may be called at
// the same time; Kill, Restart, Suspend and Resume are of HiveServer2 alone.
type HiveServer struct {
	server
	java      string
	jars      string // class path
	metastore *Metastore
	kdc       *KDC // nil: without Kerberos
	keys      *Keystore
}

// StartHiveServer2 starts a metastore and HiveServer2, and waits until it answers.
// Options.Settings go to hive-site.xml. The caller closes it.
func StartHiveServer2(ctx context.Context, o Options) (*HiveServer, error) {
	h, err := startHiveServer2(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start HiveServer2: %w", err)
	}
	return h, nil
}

func startHiveServer2(ctx context.Context, o Options) (*HiveServer, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	dist, err := installMetastore(ctx, o)
	if err != nil {
		return nil, err
	}
	// HiveServer2 and the metastore must be of one version.
	jars, err := installJars(ctx, o, "hiveserver-"+MetastoreVersion, hiveServerPOM, "hive-service-"+MetastoreVersion+".jar")
	if err != nil {
		return nil, err
	}
	return attempts("hiveserver", o, func(place home) (*HiveServer, error) {
		h := &HiveServer{java: java, jars: filepath.Join(jars, "*"), kdc: o.KDC, keys: o.Keystore,
			server: newServer("HiveServer2", place, syscall.SIGTERM, 30*time.Second)}
		h.run = h.hiveServer2
		h.metastore = newMetastore(home{filepath.Join(place.dir, "metastore"), place.temporary}, java, dist)
		// Only with HiveServer2's own classes does it understand the filters on
		// partitions that HiveServer2 sends.
		h.metastore.jars, h.metastore.kdc = []string{h.jars}, o.KDC
		return h, h.first(ctx, o.Settings)
	})
}

// first writes the configuration and starts both.
func (h *HiveServer) first(ctx context.Context, settings map[string]string) error {
	if err := os.MkdirAll(h.metastore.home.dir, 0o755); err != nil {
		return err
	}
	if err := h.metastore.first(ctx, map[string]string{
		"metastore.expression.proxy": "org.apache.hadoop.hive.ql.optimizer.ppr.PartitionExpressionForMetastore",
	}); err != nil {
		return fmt.Errorf("its metastore: %w", err)
	}
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	h.port = ports[0]
	if err := os.MkdirAll(h.file("conf"), 0o755); err != nil {
		return err
	}
	for _, name := range []string{"log4j2.properties", "hive-log4j2.properties"} {
		if err := os.WriteFile(h.file("conf/"+name), []byte(metastoreLog), 0o644); err != nil {
			return err
		}
	}
	core := map[string]string{"fs.defaultFS": "file:///", "hadoop.tmp.dir": h.file("tmp")}
	maps.Copy(core, h.kdc.core())
	if h.kdc != nil {
		// Tez looks whether its folders are of who it is: this process's user.
		u, err := user.Current()
		if err != nil {
			return err
		}
		core["hadoop.security.auth_to_local"] = "RULE:[2:$1](hive)s/.*/" + u.Username + "/\nDEFAULT"
	}
	if err := writeHadoopXML(h.file("conf/core-site.xml"), core); err != nil {
		return err
	}
	all := map[string]string{
		"hive.metastore.uris":                           h.metastore.URI(),
		"hive.metastore.warehouse.dir":                  "file://" + h.file("metastore/warehouse"),
		"hive.metastore.warehouse.external.dir":         "file://" + h.file("metastore/external"),
		"hive.metastore.event.db.notification.api.auth": "false",
		"hive.server2.thrift.bind.host":                 "127.0.0.1",
		"hive.server2.thrift.port":                      strconv.Itoa(h.port),
		"hive.server2.webui.port":                       "0",
		"hive.server2.enable.doAs":                      "false",
		"hive.server2.authentication":                   "NONE",
		"hive.server2.metrics.enabled":                  "false",
		"hive.server2.logging.operation.log.location":   h.file("operations"),
		"hive.server2.tez.initialize.default.sessions":  "false",
		"hive.server2.materializedviews.registry.impl":  "DUMMY",
		"hive.execution.engine":                         "tez",
		"hive.llap.execution.mode":                      "none",
		"hive.tez.container.size":                       "256",
		"hive.exec.scratchdir":                          h.file("scratch"),
		"hive.exec.local.scratchdir":                    h.file("scratch-local"),
		"hive.user.install.directory":                   "file://" + h.file("user"),
		"hive.notification.event.poll.interval":         "0s",
		"hive.scheduled.queries.executor.enabled":       "false",
		"hive.security.authorization.enabled":           "false",
		"hive.support.concurrency":                      "false",
		"hive.txn.manager":                              "org.apache.hadoop.hive.ql.lockmgr.DummyTxnManager",
		"hive.stats.autogather":                         "false",
		"tez.local.mode":                                "true",
		"tez.local.mode.without.network":                "true",
		"tez.ignore.lib.uris":                           "true",
		"tez.runtime.optimize.local.fetch":              "true",
		"tez.runtime.io.sort.mb":                        "24",
		"tez.staging-dir":                               h.file("tez"),
		"tez.am.resource.memory.mb":                     "256",
		"hive.server2.thrift.max.worker.threads":        "32",
		"hive.server2.thrift.min.worker.threads":        "2",
		"hive.server2.async.exec.threads":               "8",
	}
	maps.Copy(all, h.kdc.hiveServer2())
	maps.Copy(all, h.keys.hiveServer2())
	maps.Copy(all, settings)
	if err := writeHadoopXML(h.file("conf/hive-site.xml"), all); err != nil {
		return err
	}
	return h.start(ctx)
}

func (h *HiveServer) file(name string) string { return filepath.Join(h.home.dir, name) }

func (h *HiveServer) hiveServer2(ctx context.Context) (*process, error) {
	args := append([]string{h.java, "-Xmx768m"}, smallJVM...)
	args = append(args, h.kdc.jvm()...)
	args = append(args, opens("java.lang", "java.lang.reflect", "java.util", "java.util.concurrent", "java.util.concurrent.atomic",
		"java.util.regex", "java.io", "java.net", "java.nio", "java.time")...)
	args = append(args, "--add-opens=java.sql/java.sql=ALL-UNNAMED",
		// HiveServer2 shows the instants of Parquet in the zone of its JVM.
		"-Duser.timezone=UTC",
		"-Dlog4j.configurationFile="+h.file("conf/log4j2.properties"), "-Djava.net.preferIPv4Stack=true", "-Djava.io.tmpdir="+h.file("tmp"),
		"-Dderby.stream.error.file="+h.file("derby.log"), "-cp", strings.Join([]string{h.file("conf"), h.jars}, ":"),
		"org.apache.hive.service.server.HiveServer2")
	if err := os.MkdirAll(h.file("tmp"), 0o755); err != nil {
		return nil, err
	}
	p, err := start(command{args: args, without: hadoopUser, dir: h.home.dir, log: h.Log(), death: syscall.SIGKILL})
	if err != nil {
		return nil, err
	}
	return p, await(ctx, p, connects(h.Address()))
}

// Address is HiveServer2's, host:port.
func (h *HiveServer) Address() string { return "127.0.0.1:" + strconv.Itoa(h.port) }

// Metastore is the one that it uses; Close stops both.
func (h *HiveServer) Metastore() *Metastore { return h.metastore }

// Close stops both, and removes their data where Options.Dir was "".
func (h *HiveServer) Close() error {
	// HiveServer2 first: without its metastore it would try for long to reach it.
	h.mu.Lock()
	var err error
	if h.p != nil {
		err = h.end(h.p)
	}
	h.mu.Unlock()
	if err := errors.Join(err, h.metastore.Close(), h.home.remove()); err != nil {
		return fmt.Errorf("stop %s: %w", h.name, err)
	}
	return nil
}
