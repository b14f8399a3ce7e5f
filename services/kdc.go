package services

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

//go:embed kdc.pom.xml
var kdcPOM []byte

// Realm is the Kerberos realm of StartKDC.
const Realm = "LAKE.TEST"

// Principals of servers on this host, and a user, that StartKDC makes; each is
// followed by @ and the realm.
const (
	NamenodePrincipal  = "nn/localhost"
	DatanodePrincipal  = "dn/localhost"
	WebPrincipal       = "HTTP/localhost"
	MetastorePrincipal = "hive/localhost"
	UserPrincipal      = "etl"
)

// KDC is a Kerberos server (Apache Kerby) with a realm, some principals and one
// keytab of all of them. It takes about 2 s and 100 MB. Its methods may be called
// at the same time.
type KDC struct {
	server
	java, jars string
}

// StartKDC starts a KDC and waits until it answers. The caller closes it.
func StartKDC(ctx context.Context, o Options) (*KDC, error) {
	k, err := startKDC(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start the KDC: %w", err)
	}
	return k, nil
}

func startKDC(ctx context.Context, o Options) (*KDC, error) {
	java, err := findJava()
	if err != nil {
		return nil, err
	}
	jars, err := installJars(ctx, o, "kdc-"+HadoopVersion, kdcPOM, "hadoop-minikdc-"+HadoopVersion+".jar")
	if err != nil {
		return nil, err
	}
	return attempts("kdc", o, func(h home) (*KDC, error) {
		// A new start makes new keys: there is nothing to end cleanly.
		k := &KDC{java: java, jars: filepath.Join(jars, "*"), server: server{name: "the KDC", home: h, stop: (*process).kill, end: (*process).kill}}
		k.run = k.kdc
		return k, k.first(ctx)
	})
}

func (k *KDC) first(ctx context.Context) error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	k.port = ports[0]
	settings := fmt.Sprintf("kdc.bind.address=127.0.0.1\nkdc.port=%d\norg.name=LAKE\norg.domain=TEST\ntransport=TCP\ninstance=lake\n"+
		"max.ticket.lifetime=86400000\nmax.renewable.lifetime=604800000\ndebug=false\n", k.port)
	if err := os.WriteFile(k.file("kdc.properties"), []byte(settings), 0o644); err != nil {
		return err
	}
	// By address: the name localhost may mean ::1 first.
	conf := fmt.Sprintf("[libdefaults]\n default_realm = %s\n udp_preference_limit = 1\n dns_lookup_kdc = false\n[realms]\n %s = {\n  kdc = 127.0.0.1:%d\n }\n", Realm, Realm, k.port)
	if err := os.WriteFile(k.Krb5Conf(), []byte(conf), 0o644); err != nil {
		return err
	}
	return k.start(ctx)
}

func (k *KDC) kdc(ctx context.Context) (*process, error) {
	work := k.file("work") // it leaves a krb5.conf of its own there
	if err := os.MkdirAll(work, 0o755); err != nil {
		return nil, err
	}
	args := append([]string{k.java, "-Xmx128m"}, smallJVM...)
	args = append(args, "-Djava.net.preferIPv4Stack=true", "-cp", k.jars, "org.apache.hadoop.minikdc.MiniKdc", work, k.file("kdc.properties"), k.Keytab(),
		NamenodePrincipal, DatanodePrincipal, WebPrincipal, MetastorePrincipal, UserPrincipal)
	before := 0
	if said, err := os.ReadFile(k.Log()); err == nil {
		before = len(said)
	}
	p, err := start(command{args: args, dir: k.home.dir, log: k.Log(), death: syscall.SIGKILL})
	if err != nil {
		return nil, err
	}
	// It serves before it has made the principals, and says when it has.
	return p, await(ctx, p, func(ctx context.Context) error {
		said, err := os.ReadFile(k.Log())
		if err != nil || !bytes.Contains(said[min(before, len(said)):], []byte("created keytab")) {
			return errors.Join(errors.New("it has not made its keytab yet"), err)
		}
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", "127.0.0.1:"+strconv.Itoa(k.port))
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func (k *KDC) file(name string) string { return filepath.Join(k.home.dir, name) }

// Keytab is the path of the keytab, with the keys of all principals.
func (k *KDC) Keytab() string { return k.file("all.keytab") }

// Krb5Conf is the path of the configuration that leads clients to it.
func (k *KDC) Krb5Conf() string { return k.file("krb5.conf") }

// jvm are the flags with which a server of Java finds it; none without one.
func (k *KDC) jvm() []string {
	if k == nil {
		return nil
	}
	return []string{"-Djava.security.krb5.conf=" + k.Krb5Conf()}
}

// core are what core-site.xml says of it; none without one.
func (k *KDC) core() map[string]string {
	if k == nil {
		return nil
	}
	return map[string]string{"hadoop.security.authentication": "kerberos", "hadoop.security.authorization": "true"}
}

// hdfs make a namenode and a datanode ask for Kerberos, for calls and for data.
func (k *KDC) hdfs() map[string]string {
	if k == nil {
		return nil
	}
	return map[string]string{
		"dfs.namenode.kerberos.principal":                 NamenodePrincipal + "@" + Realm,
		"dfs.namenode.keytab.file":                        k.Keytab(),
		"dfs.datanode.kerberos.principal":                 DatanodePrincipal + "@" + Realm,
		"dfs.datanode.keytab.file":                        k.Keytab(),
		"dfs.web.authentication.kerberos.principal":       WebPrincipal + "@" + Realm,
		"dfs.web.authentication.kerberos.keytab":          k.Keytab(),
		"dfs.namenode.kerberos.internal.spnego.principal": WebPrincipal + "@" + Realm,
		"dfs.block.access.token.enable":                   "true",
		"dfs.data.transfer.protection":                    "authentication",
		"ignore.secure.ports.for.testing":                 "true", // they are not root's
	}
}

// metastore make a Hive Metastore ask for Kerberos.
func (k *KDC) metastore() map[string]string {
	if k == nil {
		return nil
	}
	return map[string]string{
		"metastore.sasl.enabled":         "true",
		"metastore.kerberos.principal":   MetastorePrincipal + "@" + Realm,
		"metastore.kerberos.keytab.file": k.Keytab(),
		"metastore.authentication":       "KERBEROS",
	}
}

// hiveServer2 make HiveServer2 ask for Kerberos, and show who it is to its metastore.
func (k *KDC) hiveServer2() map[string]string {
	if k == nil {
		return nil
	}
	return map[string]string{
		"hive.server2.authentication":                    "KERBEROS",
		"hive.server2.authentication.kerberos.principal": MetastorePrincipal + "@" + Realm,
		"hive.server2.authentication.kerberos.keytab":    k.Keytab(),
		"hive.metastore.sasl.enabled":                    "true",
		"yarn.resourcemanager.principal":                 MetastorePrincipal + "@" + Realm, // whom splits of files want to name
		"hive.metastore.kerberos.principal":              MetastorePrincipal + "@" + Realm,
	}
}
