package table

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog/hive"
	hm "github.com/beltran/gohive/hive_metastore"
	"github.com/google/uuid"

	"lake/storage"
)

const (
	// hiveLockKey is the property by which Iceberg's engines agree on how they commit
	// to a table: false is a compare-and-swap of the metastore, without locks. A lock
	// is left behind by a process that is killed, and holds all others for minutes;
	// and an engine that holds one alters the table without comparing anything.
	hiveLockKey = "engine.hive.lock-enabled"
	// hivePort is the metastore's where its URI names none.
	hivePort = "9083"
)

// CheckHive tells whether the text can be a Hive Metastore's URI.
func CheckHive(text string) error {
	_, err := hiveAddresses(text)
	return err
}

// hiveAddresses are the addresses host:port of thrift://host:port, or of several
// such URIs with commas between them, of which one that answers is used.
func hiveAddresses(text string) ([]string, error) {
	var out []string
	for _, uri := range strings.Split(text, ",") {
		u, err := url.Parse(strings.TrimSpace(uri))
		if err != nil || u.Scheme != "thrift" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			return nil, errors.New("it is not thrift://host:port")
		}
		host, port := u.Hostname(), u.Port()
		if port == "" {
			port = hivePort
		}
		out = append(out, net.JoinHostPort(host, port))
	}
	return out, nil
}

// openHive opens the catalog of a Hive Metastore, and asks it something, so that
// one that is not there is told at once.
func openHive(ctx context.Context, cfg CatalogConfig, props iceberg.Properties) (*hiveClient, icebergCatalog, error) {
	client, err := newHiveClient(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("open the catalog in the Hive Metastore: %w", err)
	}
	if _, err := client.GetAllDatabases(ctx); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("open the catalog in the Hive Metastore: %w", err), client.Close())
	}
	if !storage.IsRemote(props["warehouse"]) {
		// The folder is this host's: the metastore puts its databases where it does by itself.
		props = withProperty(props, "warehouse", "")
	}
	return client, hive.NewCatalogWithClient(client, props), nil
}

// errNoSwap says that a metastore cannot keep a table safe.
var errNoSwap = errors.New("the Hive Metastore does not compare metadata_location when it alters a table, so that two writers would lose commits: Hive 4.0.0 does, and releases with HIVE-26882; or use another catalog")

// proveSwap makes sure that the metastore compares before it swaps. It tries on a
// view of its own, which has no folder, and drops it.
func (h *hiveClient) proveSwap(ctx context.Context, database string) (err error) {
	probe := &hm.Table{
		DbName: database, TableName: "lake_probe_" + strings.ReplaceAll(uuid.NewString(), "-", "_"),
		TableType: hive.TableTypeVirtualView, ViewOriginalText: "SELECT 1", ViewExpandedText: "SELECT 1",
		Parameters: map[string]string{hive.MetadataLocationKey: "a"},
		Sd:         &hm.StorageDescriptor{SerdeInfo: &hm.SerDeInfo{}},
	}
	if err := h.CreateTable(ctx, probe); err != nil {
		return fmt.Errorf("try whether the Hive Metastore compares and swaps: %w", err)
	}
	defer func() {
		err = errors.Join(err, h.DropTable(context.WithoutCancel(ctx), database, probe.TableName, false))
	}()
	if err := h.swap(ctx, database, probe.TableName, probe, "b"); !isStale(err) {
		if err == nil {
			return errNoSwap
		}
		return fmt.Errorf("try whether the Hive Metastore compares and swaps: %w", err)
	}
	if err := h.swap(ctx, database, probe.TableName, probe, "a"); err != nil {
		// So does 4.0.1 on Derby, whatever is compared.
		return fmt.Errorf("the Hive Metastore refuses every compare-and-swap: %w", err)
	}
	return nil
}

// checkLocation is Catalog.checkLocation by what the metastore knows of the
// tables of one database: a metastore has thousands of tables, of which some
// cannot be read here.
func (h *hiveClient) checkLocation(ctx context.Context, files storage.FS, database, location string) error {
	location = onePath(files, location)
	names, err := h.GetTables(ctx, database, "*")
	var missing *hm.UnknownDBException
	if errors.As(err, &missing) { // it is made with its first table
		return nil
	}
	if err != nil {
		return err
	}
	const most = 300 // tables a call
	for len(names) > 0 {
		some := names[:min(most, len(names))]
		names = names[len(some):]
		tables, err := call(ctx, h, again, func(ctx context.Context, c *hm.ThriftHiveMetastoreClient) ([]*hm.Table, error) {
			r, err := c.GetTableObjectsByNameReq(ctx, &hm.GetTablesRequest{DbName: database, TblNames: some})
			if err != nil {
				return nil, err
			}
			return r.Tables, nil
		})
		if err != nil {
			return err
		}
		for _, t := range tables {
			if t.Sd == nil || t.Sd.Location == "" {
				continue
			}
			if err := overlap(location, t.DbName+"."+t.TableName, onePath(files, t.Sd.Location)); err != nil {
				return err
			}
		}
	}
	return nil
}

// onePath is a folder by the one name that it has here, where it has one: Hadoop
// writes file:/folder, and a namenode where a URI has none.
func onePath(files storage.FS, uri string) string {
	if rest, ok := strings.CutPrefix(uri, "file:/"); ok && !strings.HasPrefix(rest, "/") {
		uri = "file:///" + rest
	}
	if path, err := storage.Path(files, uri); err == nil {
		return path
	}
	return uri
}

// probeHive asks a metastore for its databases, and tries in the one that is
// always there whether it compares before it alters.
func probeHive(ctx context.Context, cfg CatalogConfig) (thing, found string, err error) {
	client, err := newHiveClient(cfg)
	if err != nil {
		return "Hive Metastore", "", err
	}
	thing = "Hive Metastore " + strings.Join(client.addresses, ",")
	defer func() { err = errors.Join(err, client.Close()) }()
	databases, err := client.GetAllDatabases(ctx)
	if err == nil {
		err = client.proveSwap(ctx, "default")
	}
	if err != nil {
		if IsUnavailable(err) {
			err = fmt.Errorf("%w; hint: is the metastore up there, and does a firewall let this machine through?", err)
		}
		return thing, "", err
	}
	return thing, fmt.Sprintf("%d databases, commits are compared and swapped", len(databases)), nil
}
