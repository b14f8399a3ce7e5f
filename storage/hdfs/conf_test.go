package hdfs

import (
	"bytes"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"lake/storage"
)

const (
	limit = 90 * time.Second
	tick  = 20 * time.Millisecond
)

// write writes a configuration of keys and values.
func write(t *testing.T, folder, name string, pairs ...string) {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\"?>\n<configuration>\n")
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString("<property><name>" + pairs[i] + "</name>\n<value>\n " + pairs[i+1] + " </value></property>\n")
	}
	b.WriteString("</configuration>")
	require.NoError(t, os.WriteFile(filepath.Join(folder, name), b.Bytes(), 0o600))
}

func TestNamenodes(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "core-site.xml", "fs.defaultFS", "hdfs://team")
	write(t, dir, "hdfs-site.xml", "dfs.nameservices", "team,one,lost", "dfs.ha.namenodes.team", "nn1,nn2",
		"dfs.namenode.rpc-address.team.nn1", "a:8020", "dfs.namenode.rpc-address.team.nn2", "b:9000",
		"dfs.namenode.rpc-address.one", "c:8020", "dfs.ha.namenodes.half", "nn1,nn2", "dfs.namenode.rpc-address.half.nn1", "d:1")
	conf, err := LoadConf(Config{}, environment(map[string]string{"HADOOP_CONF_DIR": dir}))
	require.NoError(t, err)
	authority, err := conf.defaultAuthority()
	require.NoError(t, err)
	require.Equal(t, "team", authority)
	for authority, want := range map[string][]string{
		"team": {"a:8020", "b:9000"}, "one": {"c:8020"}, "host": {"host:8020"}, "host:99": {"host:99"}, "[::1]:8020": {"[::1]:8020"},
	} {
		got, err := conf.namenodes(authority)
		require.NoError(t, err, authority)
		require.Equal(t, want, got, authority)
	}
	for authority, message := range map[string]string{
		"half": "there is no dfs.namenode.rpc-address.half.nn2", "lost": "neither dfs.ha.namenodes.lost nor dfs.namenode.rpc-address.lost", "u@h": "not host:port",
	} {
		_, err := conf.namenodes(authority)
		require.ErrorContains(t, err, message)
	}

	home := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(home, "etc", "hadoop"), 0o700))
	write(t, filepath.Join(home, "etc", "hadoop"), "core-site.xml", "fs.default.name", "hdfs://old:8020")
	conf, err = LoadConf(Config{}, environment(map[string]string{"HADOOP_HOME": home}))
	require.NoError(t, err)
	authority, err = conf.defaultAuthority()
	require.NoError(t, err)
	require.Equal(t, "old:8020", authority)

	_, err = LoadConf(Config{}, environment(map[string]string{"HADOOP_CONF_DIR": t.TempDir()}))
	require.ErrorContains(t, err, "has no core-site.xml or hdfs-site.xml")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "core-site.xml"), []byte("<configuration><property>"), 0o600))
	_, err = LoadConf(Config{}, environment(map[string]string{"HADOOP_CONF_DIR": dir}))
	require.ErrorContains(t, err, dir)
}

func TestLayoutOfConf(t *testing.T) {
	read := func(pairs ...string) (layout, error) {
		dir := t.TempDir()
		write(t, dir, "hdfs-site.xml", pairs...)
		conf, err := LoadConf(Config{}, environment(map[string]string{"HADOOP_CONF_DIR": dir}))
		require.NoError(t, err)
		return conf.layout()
	}
	l, err := read("a", "b")
	require.NoError(t, err)
	require.Equal(t, layout{file: 0o644, dir: 0o755}, l, "as Hadoop without settings")
	l, err = read("dfs.replication", "3", "dfs.blocksize", "256M", "fs.permissions.umask-mode", "007")
	require.NoError(t, err)
	require.Equal(t, layout{replication: 3, blockSize: 256 << 20, file: 0o660, dir: 0o770}, l)
	for _, bad := range [][2]string{{"dfs.replication", "0"}, {"dfs.replication", "three"}, {"dfs.blocksize", "12"}, {"dfs.blocksize", "99999999t"}, {"dfs.blocksize", "k"}, {"fs.permissions.umask-mode", "u=rwx"}} {
		_, err := read(bad[0], bad[1])
		require.ErrorContains(t, err, bad[0], bad)
	}
}

func TestURIs(t *testing.T) {
	files := open(t, nil)
	for uri, want := range map[string]error{
		"gs://a/b": storage.ErrScheme, "hdfs:/a": storage.ErrScheme, "hdfs://h/a/../b": fs.ErrInvalid, "hdfs://h/a//b": fs.ErrInvalid, "hdfs://h/a:b": fs.ErrInvalid,
	} {
		_, err := files.Stat(t.Context(), uri)
		require.ErrorIs(t, err, want, uri)
	}
	_, err := files.Stat(t.Context(), "hdfs:///a")
	require.ErrorContains(t, err, "HADOOP_CONF_DIR is not set")
}

// What Kerberos needs and has not is told, before any server is asked, and is
// not tried again.
func TestKerberosErrors(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's
	require.NoError(t, err)
	defer l.Close()
	dir := t.TempDir()
	krb5 := filepath.Join(dir, "krb5.conf")
	require.NoError(t, os.WriteFile(krb5, []byte("[libdefaults]\n default_realm = EXAMPLE.COM\n[realms]\n EXAMPLE.COM = {\n  kdc = 127.0.0.1:1\n }\n"), 0o600))
	ask := func(principal string, env map[string]string) error {
		conf := t.TempDir()
		write(t, conf, "core-site.xml", "hadoop.security.authentication", "kerberos", "fs.defaultFS", "hdfs://"+l.Addr().String())
		if principal != "" {
			write(t, conf, "hdfs-site.xml", "dfs.namenode.kerberos.principal", principal)
		}
		env["HADOOP_CONF_DIR"] = conf
		_, err := open(t, env).Stat(t.Context(), "hdfs:///a")
		require.ErrorIs(t, err, storage.ErrRefused)
		return err
	}
	keytab := filepath.Join(dir, "a.keytab")
	// One key of aes256-cts-hmac-sha1-96 of etl@EXAMPLE.COM, as the format of MIT has it.
	entry := []byte("\x00\x01\x00\x0bEXAMPLE.COM\x00\x03etl\x00\x00\x00\x01\x00\x00\x00\x00\x01\x00\x12\x00\x20" + string(bytes.Repeat([]byte{7}, 32)))
	data := append([]byte{5, 2, 0, 0, 0, byte(len(entry))}, entry...)
	require.NoError(t, os.WriteFile(keytab, data, 0o600))

	require.ErrorContains(t, ask("", map[string]string{}), "no dfs.namenode.kerberos.principal")
	const nn = "nn/_HOST@EXAMPLE.COM"
	require.ErrorContains(t, ask(nn, map[string]string{"KRB5_CONFIG": filepath.Join(dir, "none")}), "KRB5_CONFIG names another one")
	require.ErrorContains(t, ask(nn, map[string]string{"KRB5_CONFIG": krb5, "LAKE_KERBEROS_KEYTAB": keytab}), "set it to user@REALM")
	require.ErrorContains(t, ask(nn, map[string]string{"KRB5_CONFIG": krb5, "LAKE_KERBEROS_PRINCIPAL": "etl"}), "LAKE_KERBEROS_KEYTAB is not")
	require.ErrorContains(t, ask(nn, map[string]string{"KRB5_CONFIG": krb5, "LAKE_KERBEROS_PRINCIPAL": "etl", "LAKE_KERBEROS_KEYTAB": krb5}), "read keytab")
	require.ErrorContains(t, ask(nn, map[string]string{"KRB5_CONFIG": krb5, "KRB5CCNAME": "KEYRING:persistent:0"}), "kind KEYRING cannot be read")
	require.ErrorContains(t, ask(nn, map[string]string{"KRB5_CONFIG": krb5, "KRB5CCNAME": "FILE:" + filepath.Join(dir, "none")}), "run kinit")
	// The keytab is read and used; there is no KDC.
	err = ask(nn, map[string]string{"KRB5_CONFIG": krb5, "LAKE_KERBEROS_PRINCIPAL": "etl", "LAKE_KERBEROS_KEYTAB": keytab})
	require.ErrorContains(t, err, "log in as etl@EXAMPLE.COM by keytab")
	require.NotContains(t, err.Error(), string(bytes.Repeat([]byte{7}, 4)))
}
