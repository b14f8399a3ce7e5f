package services

import (
	"net"
	"strconv"
	"syscall"
	"testing"

	"github.com/beltran/gohive"
	"github.com/stretchr/testify/require"
)

// inSQL has a server run statements by gohive's client; the last one answers one number, x.
func inSQL(t *testing.T, address string, statements ...string) (x string, err error) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	conf := gohive.NewConnectConfiguration()
	conf.Username, conf.Password = "someone", "x"
	conn, err := gohive.Connect(host, number, "NONE", conf)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	for i, statement := range statements {
		cursor := conn.Cursor()
		defer cursor.Close()
		if cursor.Exec(t.Context(), statement); cursor.Err != nil {
			return "", cursor.Err
		}
		if i == len(statements)-1 && cursor.HasMore(t.Context()) {
			var n int64
			if cursor.FetchOne(t.Context(), &n); cursor.Err != nil {
				return "", cursor.Err
			}
			x = strconv.FormatInt(n, 10)
		}
	}
	return x, nil
}

// HiveServer2 runs queries, and Spark sees its tables in the same metastore.
func TestHiveServerAndSpark(t *testing.T) {
	h, err := StartHiveServer2(t.Context(), Options{})
	canStart(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	s, err := StartSparkThrift(t.Context(), Options{Settings: map[string]string{sparkMetastore: h.Metastore().URI()}})
	canStart(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	x, err := inSQL(t, h.Address(), "CREATE DATABASE shop", "CREATE TABLE shop.orders (n BIGINT) PARTITIONED BY (dt DATE) STORED AS PARQUET",
		"INSERT INTO shop.orders PARTITION (dt = '2021-11-30') VALUES (1), (2)", "INSERT INTO shop.orders PARTITION (dt = '2021-11-29') VALUES (5)",
		"SELECT SUM(n) FROM shop.orders WHERE dt = DATE '2021-11-30'")
	require.NoError(t, err)
	require.Equal(t, "3", x)
	x, err = inSQL(t, s.Address(), "SELECT SUM(n) FROM shop.orders")
	require.NoError(t, err)
	require.Equal(t, "8", x)
	for _, each := range []interface {
		PID() int
		Kill() error
	}{h, s} {
		before := each.PID()
		require.NoError(t, each.Kill())
		require.ErrorIs(t, syscall.Kill(before, 0), syscall.ESRCH)
	}
	_, err = inSQL(t, h.Address(), "SELECT 1")
	require.Error(t, err)
	require.NoError(t, h.Restart(t.Context()))
	require.NoError(t, s.Restart(t.Context()))
	for _, address := range []string{h.Address(), s.Address()} {
		x, err = inSQL(t, address, "SELECT SUM(n) FROM shop.orders")
		require.NoError(t, err)
		require.Equal(t, "8", x)
	}
	require.NoError(t, s.Close())
	require.NoError(t, h.Close())
	require.NoDirExists(t, s.home.dir)
	require.NoDirExists(t, h.home.dir)
}
