// Package hdfs is a storage.FS on HDFS. A file is written under a temporary name
// beside its own and renamed to it, which the namenode does at once and refuses
// where the name is taken.
package hdfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os/user"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/colinmarc/hdfs/v2"
	"github.com/colinmarc/hdfs/v2/hadoopconf"

	"lake/kerberos"
	"lake/storage"
)

// FS is HDFS, of all the clusters that its URIs name: hdfs://nameservice/path,
// hdfs://host:port/path, and hdfs:///path for fs.defaultFS. Close closes it.
type FS struct {
	env    Environment
	conf   Conf
	layout layout

	buffers storage.Buffers // of writers

	mu       sync.Mutex
	clusters map[string]*cluster // by authority
	closed   bool
}

var _ interface {
	storage.FS
	storage.Pather
	storage.Sweeper
	storage.Expecter
	io.Closer
} = (*FS)(nil)

// Open reads the Hadoop configuration, which c or the environment names. It
// connects at the first use of a cluster. The caller closes it.
func Open(c Config, env Environment) (*FS, error) {
	conf, err := LoadConf(c, env)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", storage.ErrRefused, err)
	}
	l, err := conf.layout()
	if err != nil {
		return nil, fmt.Errorf("%w: read the Hadoop configuration: %w", storage.ErrRefused, err)
	}
	return &FS{env: env, conf: conf, layout: l, clusters: map[string]*cluster{}}, nil
}

// Close closes the connections. What is open is not used any more.
func (f *FS) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, c := range f.clusters {
		c.close()
	}
	clear(f.clusters)
	return nil
}

// place is a URI's cluster and path.
type place struct {
	uri  string
	path string
	*cluster
}

// split reads a URI; its path is taken as it is written.
func (f *FS) split(uri string) (authority, name string, err error) {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok || !strings.EqualFold(scheme, "hdfs") {
		return "", "", fmt.Errorf("%q is not hdfs://namenode/path: %w", uri, storage.ErrScheme)
	}
	authority, name, _ = strings.Cut(rest, "/")
	name = "/" + strings.TrimRight(name, "/")
	switch {
	case path.Clean(name) != name:
		return "", "", fmt.Errorf("%q has an empty name, . or .. in its path: %w", uri, fs.ErrInvalid)
	case strings.ContainsAny(name, ":\x00"):
		return "", "", fmt.Errorf("%q: HDFS takes no colon in a name: %w", uri, fs.ErrInvalid)
	}
	if authority == "" {
		authority, err = f.conf.defaultAuthority()
	}
	return authority, name, err
}

func (f *FS) at(uri string) (place, error) {
	authority, name, err := f.split(uri)
	if err != nil {
		return place{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return place{}, fmt.Errorf("%s: the filesystem is closed: %w", uri, fs.ErrClosed)
	}
	c, ok := f.clusters[authority]
	if !ok {
		addresses, err := f.conf.namenodes(authority)
		if err != nil {
			return place{}, fmt.Errorf("%w: %w", storage.ErrRefused, err)
		}
		c = &cluster{name: authority, patience: cmp.Or(f.conf.Patience, usualPatience), peers: peers{failed: map[string]time.Time{}}, folders: map[string]bool{}, own: thisHost(),
			options: func() (hdfs.ClientOptions, func(), error) { return f.options(addresses) }}
		f.clusters[authority] = c
	}
	return place{uri: uri, path: name, cluster: c}, nil
}

// options are the library's, with credentials; the func lets go of those.
func (f *FS) options(addresses []string) (hdfs.ClientOptions, func(), error) {
	conf := hadoopconf.HadoopConf{}
	maps.Copy(conf, f.conf.all)
	if f.conf.secure() && conf["dfs.namenode.kerberos.principal"] == "" {
		return hdfs.ClientOptions{}, nil, fmt.Errorf("%w: hadoop.security.authentication is kerberos, and there is no dfs.namenode.kerberos.principal (%s)", errCredentials, f.conf.place())
	}
	delete(conf, "fs.default.name") // the library would read namenodes from it, and not look at errors
	delete(conf, "fs.defaultFS")
	o := hdfs.ClientOptionsFromConf(conf)
	o.Addresses = addresses
	if !f.conf.secure() {
		name, err := f.user()
		o.User = name
		return o, func() {}, err
	}
	client, err := kerberos.Login(f.conf.Config.Config, f.env)
	if err != nil {
		return o, nil, fmt.Errorf("%w: %w", errCredentials, err)
	}
	o.KerberosClient = client
	return o, client.Destroy, nil
}

// user is who asks, where the cluster believes what it is told.
func (f *FS) user() (string, error) {
	if name := cmp.Or(f.conf.User, f.env("HADOOP_USER_NAME")); name != "" {
		return name, nil
	}
	u, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("%w: find the user's name: %w: set HADOOP_USER_NAME", errCredentials, err)
	}
	return u.Username, nil
}

// Path implements storage.Pather.
func (f *FS) Path(uri string) (string, error) {
	authority, name, err := f.split(uri)
	if err != nil {
		return "", err
	}
	return "hdfs://" + authority + name, nil
}

// wrap gives an error its place and its meaning.
func wrap(verb, uri string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", verb, uri, meaning(err))
}

// meaning gives an error what callers look for, and users can do.
func meaning(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errCredentials):
		return fmt.Errorf("%w: %w", storage.ErrRefused, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w; hint: who asks, HADOOP_USER_NAME (storage.hdfs.user in the job) or the Kerberos principal, needs the right to write there: hdfs dfs -chown or -setfacl", storage.ErrRefused, err)
	case !answered(err) && !errors.Is(err, storage.ErrUnavailable):
		return fmt.Errorf("%w: %w", storage.ErrUnavailable, err)
	}
	return err
}

// Stat implements storage.FS.
func (f *FS) Stat(ctx context.Context, uri string) (storage.Info, error) {
	p, err := f.at(uri)
	if err != nil {
		return storage.Info{}, err
	}
	info, err := p.stat(ctx, p.path)
	if err == nil && info.IsDir() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return storage.Info{}, wrap("stat", uri, err)
	}
	return storage.Info{URI: uri, Bytes: info.Size(), Modified: info.ModTime()}, nil
}

func (c *cluster) stat(ctx context.Context, name string) (info fs.FileInfo, err error) {
	err = c.run(ctx, func(s *session) error {
		var err error
		info, err = s.Stat(name)
		return err
	})
	return info, err
}

// Remove implements storage.FS. The namenode takes one file a call.
func (f *FS) Remove(ctx context.Context, uris ...string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	var errs []error
	for _, uri := range uris {
		p, err := f.at(uri)
		if err == nil {
			err = wrap("remove", uri, p.remove(ctx, p.path))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// remove removes a file; one that is not there is none.
func (c *cluster) remove(ctx context.Context, name string) error {
	c.expected.take(name) // and forget it
	err := c.run(ctx, func(s *session) error { return s.remove(name) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List implements storage.FS.
func (f *FS) List(ctx context.Context, uri string, each func(storage.Info) error) error {
	p, err := f.at(uri)
	if err != nil {
		return err
	}
	return f.list(ctx, p, strings.TrimRight(uri, "/"), p.path, each)
}

func (f *FS) list(ctx context.Context, p place, uri, folder string, each func(storage.Info) error) error {
	var folders []string
	last := ""
	for {
		page, more, err := p.page(ctx, folder, last)
		if err != nil {
			return wrap("list", uri, err)
		}
		for _, entry := range page {
			if last = entry.Name(); entry.IsDir() {
				folders = append(folders, last)
				continue
			}
			if err := each(storage.Info{URI: uri + "/" + last, Bytes: entry.Size(), Modified: entry.ModTime()}); err != nil {
				return err
			}
		}
		if !more || len(page) == 0 {
			break
		}
	}
	for _, name := range folders {
		if err := f.list(ctx, p, uri+"/"+name, path.Join(folder, name), each); err != nil {
			return err
		}
	}
	return nil
}

// Sweep implements storage.Sweeper.
func (f *FS) Sweep(ctx context.Context, uri string, before time.Time) error {
	return storage.SweepTemporary(ctx, f, uri, before)
}
