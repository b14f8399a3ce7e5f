package table

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog/hive"
	hm "github.com/beltran/gohive/hive_metastore"
	"github.com/stretchr/testify/require"

	"lake/services"
	"lake/services/servicetest"
	"lake/storage"
)

func TestHiveAddresses(t *testing.T) {
	for text, want := range map[string][]string{
		"thrift://host:9083":                {"host:9083"},
		"thrift://host":                     {"host:9083"},
		"thrift://a:1, thrift://b":          {"a:1", "b:9083"},
		"thrift://[::1]:9083/":              {"[::1]:9083"},
		"thrift://metastore.example.com:77": {"metastore.example.com:77"},
	} {
		got, err := hiveAddresses(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "host:9083", "http://host", "thrift://", "thrift://u:p@host:1", "thrift://host:1,", "thrift://a:b:c", "thrift://host/db"} {
		require.Error(t, CheckHive(text), text)
	}
}

// blind is a metastore's client that alters a table whatever it was before, as
// iceberg-go's own does, and takes no lock.
type blind struct{ *hiveClient }

func (b blind) AlterTable(ctx context.Context, database, name string, t *hm.Table) error {
	return b.do(ctx, once, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) error {
		return c.AlterTable(ctx, database, name, t)
	})
}

// Two owners append at once, each through a catalog of its own. No append is lost;
// with a client that does not compare, some are.
func TestHiveRace(t *testing.T) {
	dropTables(t, servers.Metastore(t).URI())
	w := warehouse{config: CatalogConfig{Warehouse: t.TempDir(), Hive: servers.Metastore(t).URI()}}
	const writers, appends = 2, 8
	race := func(name string, disarm bool) (acknowledged, there int) {
		c := w.open(t)
		tbl, err := c.Create(t.Context(), "race."+name, Definition{Schema: eventSchema, PartitionBy: []Partition{{Source: "dt", Transform: "identity", Name: "dt"}}})
		require.NoError(t, err)
		require.Equal(t, "false", tbl.now.Load().ice.Properties()[hiveLockKey])
		var g sync.WaitGroup
		var mu sync.Mutex
		for i := range writers {
			own := w.open(t)
			if disarm {
				mount, unmount := storage.Mount(own.fs)
				t.Cleanup(unmount)
				own.ice = hive.NewCatalogWithClient(blind{own.hive}, iceberg.Properties{storage.MountProperty: mount})
			}
			mine := load(t, own, "race."+name)
			files := make([]dataFile, appends)
			for n := range files {
				files[n] = writeEvents(t, mine, 19000, int64(i*appends+n))
			}
			g.Go(func() {
				for n, f := range files {
					if err := mine.Append(t.Context(), fmt.Sprintf("w%d", i), int64(n), []dataFile{f}); err == nil {
						mu.Lock()
						acknowledged++
						mu.Unlock()
					}
				}
			})
		}
		g.Wait()
		return acknowledged, len(ids(t, load(t, c, "race."+name), ScanOptions{}))
	}
	acknowledged, there := race("swapped", false)
	require.Equal(t, writers*appends, acknowledged)
	require.Equal(t, acknowledged, there)
	lost := 0
	for try := 0; try < 5 && lost == 0; try++ { // the control: a race, so it may take some tries
		acknowledged, there = race(fmt.Sprintf("blind%d", try), true)
		lost = acknowledged - there
	}
	require.Positive(t, lost, "altering blindly loses appends: the test above would not see it")
}

// A table that engines lock is locked by lake, too, and one that they do not is not.
func TestHiveLocks(t *testing.T) {
	dropTables(t, servers.Metastore(t).URI())
	w := warehouse{config: CatalogConfig{Warehouse: t.TempDir(), Hive: servers.Metastore(t).URI()}}
	c := w.open(t)
	for name, locked := range map[string]string{"swapped": "", "locked": "true"} {
		props := map[string]string{}
		if locked != "" {
			props[hiveLockKey] = locked
		}
		_, err := c.Create(t.Context(), "locks."+name, Definition{Schema: eventSchema, Properties: props})
		require.NoError(t, err)
		table := name
		r, err := c.hive.Lock(t.Context(), &hm.LockRequest{Component: []*hm.LockComponent{{Type: hm.LockType_EXCLUSIVE, Level: hm.LockLevel_TABLE, Dbname: "locks", Tablename: &table}}})
		require.NoError(t, err)
		require.Equal(t, hm.LockState_ACQUIRED, r.State)
		require.Equal(t, locked != "", r.Lockid != 0, name)
		require.NoError(t, c.hive.Unlock(t.Context(), r.Lockid))
		require.NoError(t, load(t, c, "locks."+name).Append(t.Context(), "k", 1, nil))
	}
}

// A metastore that is away for a while is one that may come back; its
// connections are made anew, and a commit whose answer never came is looked at.
func TestHiveRestart(t *testing.T) {
	m := servicetest.Metastore(t, services.Options{})
	w := warehouse{config: CatalogConfig{Warehouse: t.TempDir(), Hive: m.URI()}}
	c, tbl := w.events(t)
	require.NoError(t, tbl.Append(t.Context(), "k", 1, []dataFile{writeEvents(t, tbl, 19000, 1)}))
	require.NoError(t, m.Kill())
	_, err := c.Load(t.Context(), "shop.events")
	require.Error(t, err)
	require.True(t, IsUnavailable(err), err)
	_, err = OpenCatalog(t.Context(), w.config)
	require.ErrorContains(t, err, strings.TrimPrefix(m.URI(), "thrift://"))
	require.True(t, IsUnavailable(err), err)
	done := make(chan error, 1)
	file := writeEvents(t, tbl, 19000, 2)
	go func() { done <- tbl.Append(t.Context(), "k", 2, []dataFile{file}) }()
	require.NoError(t, m.Restart(t.Context()))
	if err := <-done; err != nil { // it gave up before the metastore was there
		require.True(t, IsUnavailable(err), err)
		require.NoError(t, tbl.Append(t.Context(), "k", 2, []dataFile{file}))
	}
	require.Equal(t, []int64{1, 2}, sorted(ids(t, load(t, c, "shop.events"), ScanOptions{})))

	require.NoError(t, m.Suspend())
	short, cancel := context.WithCancel(t.Context())
	go cancel()
	_, err = c.Load(short, "shop.events")
	require.ErrorIs(t, err, context.Canceled, "a server that is silent holds nobody whose context ended")
	require.NoError(t, m.Resume())
}

// The first of two metastores is away.
func TestHivePair(t *testing.T) {
	dropTables(t, servers.Metastore(t).URI())
	w := warehouse{config: CatalogConfig{Warehouse: t.TempDir(), Hive: "thrift://127.0.0.1:1," + servers.Metastore(t).URI()}}
	c, _ := w.events(t)
	names, err := c.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"shop.events"}, names)
}

// A location in or around another table's of the database is refused, by what the
// metastore knows.
func TestHiveOverlap(t *testing.T) {
	dropTables(t, servers.Metastore(t).URI())
	dir := t.TempDir()
	w := warehouse{config: CatalogConfig{Warehouse: dir, Hive: servers.Metastore(t).URI()}}
	c, tbl := w.events(t)
	_, err := c.Create(t.Context(), "shop.inner", Definition{Schema: eventSchema, Location: tbl.Location() + "/inner"})
	require.ErrorContains(t, err, "overlaps with that of table shop.events")
	_, err = c.Create(t.Context(), "shop.beside", Definition{Schema: eventSchema})
	require.NoError(t, err)
}

// A table of another catalog is registered, moved by who knows where it is, and by
// nobody else; what is no Iceberg table is told.
func TestRegistry(t *testing.T) {
	uri := servers.Metastore(t).URI()
	dropTables(t, uri)
	_, tbl := warehouse{config: CatalogConfig{Warehouse: t.TempDir()}}.events(t)
	r, err := OpenRegistry(CatalogConfig{Hive: uri})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	const name = "others.events"
	get := func() (Registration, bool) {
		reg, found, err := r.Get(t.Context(), name)
		require.NoError(t, err)
		return reg, found
	}
	_, found := get()
	require.False(t, found)
	first := Registration{Metadata: tbl.Metadata(), Location: tbl.Location(), Columns: []RegisteredColumn{{Name: "n", Type: "bigint", Doc: "its number"}}, Properties: map[string]string{"own": "1"}}
	require.NoError(t, r.Put(t.Context(), name, first, ""))
	require.ErrorIs(t, r.Put(t.Context(), name, first, ""), ErrRegisteredOtherwise, "it is there")
	reg, found := get()
	require.True(t, found)
	require.Equal(t, first.Metadata, reg.Metadata)
	require.Equal(t, first.Columns, reg.Columns)
	require.Equal(t, "1", reg.Properties["own"])

	second := first
	second.Metadata, second.Columns = tbl.Location()+"/second.metadata.json", append(second.Columns, RegisteredColumn{Name: "more", Type: "string"})
	require.ErrorIs(t, r.Put(t.Context(), name, second, second.Metadata), ErrRegisteredOtherwise, "it is elsewhere")
	require.NoError(t, r.Put(t.Context(), name, second, first.Metadata))
	require.ErrorIs(t, r.Put(t.Context(), name, first, first.Metadata), ErrRegisteredOtherwise)
	reg, _ = get()
	require.Equal(t, second.Metadata, reg.Metadata)
	require.Equal(t, second.Columns, reg.Columns)
	require.NoError(t, r.client.CreateTable(t.Context(), &hm.Table{DbName: "others", TableName: "plain", TableType: hive.TableTypeExternalTable, Sd: &hm.StorageDescriptor{SerdeInfo: &hm.SerDeInfo{}, Location: tbl.Location()}}))
	_, _, err = r.Get(t.Context(), "others.plain")
	require.ErrorIs(t, err, ErrRegisteredOtherwise)
}

// Doctor learns whether a metastore is there and compares, and leaves nothing.
func TestHiveProbe(t *testing.T) {
	uri := servers.Metastore(t).URI()
	dropTables(t, uri)
	thing, found, err := ProbeCatalog(t.Context(), CatalogConfig{Warehouse: t.TempDir(), Hive: uri})
	require.NoError(t, err)
	require.Equal(t, "Hive Metastore "+strings.TrimPrefix(uri, "thrift://"), thing)
	require.Contains(t, found, "compared and swapped")
	client := &hiveClient{addresses: []string{strings.TrimPrefix(uri, "thrift://")}}
	defer client.Close()
	names, err := client.GetTables(t.Context(), "default", "*")
	require.NoError(t, err)
	require.Empty(t, names)
	_, _, err = ProbeCatalog(t.Context(), CatalogConfig{Warehouse: t.TempDir(), Hive: "thrift://127.0.0.1:1"})
	require.ErrorContains(t, err, "hint: is the metastore up there")
}

var errTest = errors.New("test")

// What is no answer is not repeated where it may have been done.
func TestHiveRepeats(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's
	require.NoError(t, err)
	var g sync.WaitGroup
	g.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	})
	t.Cleanup(func() { require.NoError(t, l.Close()); g.Wait() })
	client := &hiveClient{addresses: []string{l.Addr().String()}}
	for how, want := range map[repeat]int{once: 1, again: 2} {
		calls := 0
		err := client.do(t.Context(), how, func(context.Context, *hm.ThriftHiveMetastoreClient) error { calls++; return errTest })
		require.ErrorIs(t, err, errTest)
		require.Equal(t, want, calls)
	}
	require.NoError(t, client.Close())
	require.Error(t, client.do(t.Context(), again, func(context.Context, *hm.ThriftHiveMetastoreClient) error { return nil }))
}
