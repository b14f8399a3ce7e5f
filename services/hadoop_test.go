package services

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/colinmarc/hdfs/v2"
	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/stretchr/testify/require"
)

func TestHDFS(t *testing.T) {
	h, err := StartHDFS(t.Context(), Options{})
	canStart(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	write := func(name, text string) error {
		client, err := hdfs.NewClient(hdfs.ClientOptions{Addresses: []string{h.Address()}, User: "test"})
		if err != nil {
			return err
		}
		defer client.Close()
		w, err := client.Create(name)
		if err != nil {
			return err
		}
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
		for { // until the datanode has told the namenode of the block
			if err := w.Close(); !hdfs.IsErrReplicating(err) {
				return err
			}
		}
	}
	read := func(name string) string {
		client, err := hdfs.NewClient(hdfs.ClientOptions{Addresses: []string{h.Address()}, User: "test"})
		require.NoError(t, err)
		defer client.Close()
		data, err := client.ReadFile(name)
		require.NoError(t, err)
		return string(data)
	}
	require.NoError(t, write("/a", "one"))

	require.NoError(t, h.KillDatanode())
	require.Error(t, write("/b", "nobody takes this"))
	require.NoError(t, h.RestartDatanode(t.Context()))
	require.NoError(t, write("/c", "two"))

	before, address := h.PID(), h.Address()
	require.NoError(t, h.KillNamenode())
	require.ErrorIs(t, syscall.Kill(before, 0), syscall.ESRCH)
	require.NoError(t, h.KillNamenode(), "a second time is none")
	require.NoError(t, h.RestartNamenode(t.Context()))
	require.Equal(t, address, h.Address())
	require.Equal(t, "onetwo", read("/a")+read("/c"))

	require.NoError(t, h.Restart(t.Context()))
	require.NoError(t, write("/d", "three"))
	require.Equal(t, "three", read("/d"))
	last := h.PID()
	require.NoError(t, h.Close())
	require.ErrorIs(t, syscall.Kill(last, 0), syscall.ESRCH)
	require.NoDirExists(t, h.home.dir)
}

func TestMetastore(t *testing.T) {
	m, err := StartMetastore(t.Context(), Options{})
	canStart(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	address := strings.TrimPrefix(m.URI(), "thrift://")
	// get_all_databases, as the wire has it: strict binary, call, sequence 1, no arguments.
	call := "\x80\x01\x00\x01\x00\x00\x00\x11get_all_databases\x00\x00\x00\x01\x00"
	ask := func() (string, error) {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return "", err
		}
		defer c.Close()
		require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
		if _, err := c.Write([]byte(call)); err != nil {
			return "", err
		}
		reply := make([]byte, 4096)
		n, err := c.Read(reply)
		return string(reply[:n]), err
	}
	reply, err := ask()
	require.NoError(t, err)
	require.Contains(t, reply, "\x80\x01\x00\x02\x00\x00\x00\x11get_all_databases")
	before := m.PID()
	require.NoError(t, m.Kill())
	require.ErrorIs(t, syscall.Kill(before, 0), syscall.ESRCH)
	_, err = ask()
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NoError(t, m.Restart(t.Context()))
	_, err = ask()
	require.NoError(t, err)
	last := m.PID()
	require.NoError(t, m.Close())
	require.ErrorIs(t, syscall.Kill(last, 0), syscall.ESRCH)
	require.NoDirExists(t, m.home.dir)
}

// A KDC knows the user whose key is in its keytab, and leaves nothing.
func TestKDC(t *testing.T) {
	k, err := StartKDC(t.Context(), Options{})
	canStart(t, err)
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	login := func() error {
		conf, err := config.Load(k.Krb5Conf())
		require.NoError(t, err)
		keys, err := keytab.Load(k.Keytab())
		require.NoError(t, err)
		c := client.NewWithKeytab(UserPrincipal, Realm, keys, conf, client.DisablePAFXFAST(true))
		defer c.Destroy()
		return c.Login()
	}
	require.NoError(t, login())
	last := k.PID()
	require.NoError(t, k.Close())
	require.ErrorIs(t, syscall.Kill(last, 0), syscall.ESRCH)
	require.NoDirExists(t, k.home.dir)
}
