package hdfs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/colinmarc/hdfs/v2/hadoopconf"

	"lake/kerberos"
)

// Environment is what of the process's environment says where HDFS is and who
// asks, where a Config does not: HADOOP_CONF_DIR (or HADOOP_HOME),
// HADOOP_USER_NAME, and for Kerberos what kerberos.Config names.
type Environment func(name string) string

// Config is storage: {hdfs: …} in a job file. What it leaves out is as the
// environment and the Hadoop configuration have it.
type Config struct {
	ConfDir string `yaml:"conf_dir"` // folder of core-site.xml and hdfs-site.xml
	// Namenodes are the addresses host:port of one cluster's namenode, or of its
	// pair: of the one that hdfs:///path means, and of any name that the Hadoop
	// configuration does not know.
	Namenodes   []string `yaml:"namenodes"`
	User        string   `yaml:"user"`        // who asks where the cluster believes it
	BlockSize   int64    `yaml:"block_size"`  // bytes
	Replication int      `yaml:"replication"` // copies of each block
	// Of Kerberos, which the Hadoop configuration asks for.
	kerberos.Config
	// Patience is how long an operation goes on trying while the namenode is gone, in
	// its safe mode or on its way to the other one of the pair; 0 is 90 s.
	Patience time.Duration `yaml:"patience"`
}

// Check says what is wrong with it.
func (c Config) Check() error {
	for i, address := range c.Namenodes {
		if host, _, err := net.SplitHostPort(address); err != nil || host == "" || strings.ContainsAny(address, "/@") {
			return fmt.Errorf("namenodes: the address number %d is not host:port; hint: write [\"nn1.example.com:8020\", \"nn2.example.com:8020\"]", i+1)
		}
	}
	switch {
	case c.BlockSize != 0 && c.BlockSize < minBlock:
		return errors.New("block_size: 1MiB or more expected; hint: write 128MiB")
	case c.BlockSize%512 != 0: // of a checksum, as the namenode has them
		return errors.New("block_size: a multiple of 512 bytes expected; hint: write 128MiB")
	case c.Replication < 0 || c.Replication > maxReplication:
		return fmt.Errorf("replication: a number from 1 to %d expected", maxReplication)
	case c.Patience < 0:
		return errors.New("patience: more than 0 expected; hint: write 90s")
	}
	return c.Config.Check()
}

const (
	minBlock       = 1 << 20
	maxReplication = 512
)

// Conf is what lake takes from core-site.xml and hdfs-site.xml, and the Config
// that stands above them.
type Conf struct {
	Config
	folder string // of the files; "" where there are none
	all    hadoopconf.HadoopConf
}

// maxConf bounds each of the files.
const maxConf = 16 << 20

// LoadConf reads the configuration that c, or else the environment, names. No
// configuration is none: a URI may name its namenode. A folder that is named and
// has no core-site.xml or hdfs-site.xml is an error.
func LoadConf(c Config, env Environment) (Conf, error) {
	folder := cmp.Or(c.ConfDir, env("HADOOP_CONF_DIR"))
	if folder == "" && env("HADOOP_HOME") != "" {
		folder = filepath.Join(env("HADOOP_HOME"), "etc", "hadoop")
	}
	if folder == "" {
		return Conf{Config: c}, nil
	}
	for _, name := range []string{"core-site.xml", "hdfs-site.xml"} {
		info, err := os.Stat(filepath.Join(folder, name))
		if err == nil && info.Size() > maxConf {
			return Conf{}, fmt.Errorf("read the Hadoop configuration in %s: %s is larger than %d bytes", folder, name, maxConf)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Conf{}, fmt.Errorf("read the Hadoop configuration: %w", err)
		}
	}
	all, err := hadoopconf.Load(folder)
	if err != nil {
		return Conf{}, fmt.Errorf("read the Hadoop configuration: %w", err)
	}
	if all == nil {
		return Conf{}, fmt.Errorf("read the Hadoop configuration: %s has no core-site.xml or hdfs-site.xml: set HADOOP_CONF_DIR to the folder that has them", folder)
	}
	for key, value := range all {
		all[key] = strings.TrimSpace(value)
	}
	return Conf{Config: c, folder: folder, all: all}, nil
}

func (c Conf) get(key string) string { return c.all[key] }

// place is where the configuration is, for errors.
func (c Conf) place() string {
	if c.folder == "" {
		return "no Hadoop configuration was read: HADOOP_CONF_DIR is not set"
	}
	return "of " + c.folder
}

// defaultAuthority is that of hdfs:///path: fs.defaultFS's.
func (c Conf) defaultAuthority() (string, error) {
	text := c.get("fs.defaultFS")
	if text == "" {
		text = c.get("fs.default.name") // as it was called
	}
	if text == "" && len(c.Namenodes) == 1 {
		return c.Namenodes[0], nil
	}
	if text == "" {
		return "", fmt.Errorf("the URI names no namenode, and there is no fs.defaultFS (%s): write hdfs://host:8020/folder, or set HADOOP_CONF_DIR", c.place())
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "hdfs" || u.Host == "" {
		return "", fmt.Errorf("the URI names no namenode, and fs.defaultFS (%s) is not hdfs://host:port", c.place())
	}
	return u.Host, nil
}

// namenodes are the addresses host:port of a URI's authority: the pair of a
// nameservice, or the host itself.
func (c Conf) namenodes(authority string) ([]string, error) {
	if len(c.Namenodes) > 0 && c.means(authority) {
		return c.Namenodes, nil
	}
	if nodes := c.get("dfs.ha.namenodes." + authority); nodes != "" {
		var out []string
		for _, node := range list(nodes) {
			address := c.get("dfs.namenode.rpc-address." + authority + "." + node)
			if address == "" {
				return nil, fmt.Errorf("nameservice %s: there is no dfs.namenode.rpc-address.%s.%s (%s)", authority, authority, node, c.place())
			}
			out = append(out, address)
		}
		return out, nil
	}
	if slices.Contains(list(c.get("dfs.nameservices")), authority) {
		address := c.get("dfs.namenode.rpc-address." + authority)
		if address == "" {
			return nil, fmt.Errorf("nameservice %s: there is neither dfs.ha.namenodes.%s nor dfs.namenode.rpc-address.%s (%s)", authority, authority, authority, c.place())
		}
		return []string{address}, nil
	}
	if _, _, err := net.SplitHostPort(authority); err == nil {
		return []string{authority}, nil
	}
	if strings.ContainsAny(authority, "@:") {
		return nil, fmt.Errorf("%q is not host:port", authority)
	}
	return []string{net.JoinHostPort(authority, "8020")}, nil
}

// means tells whether an authority is that of the cluster whose namenodes the
// Config has.
func (c Conf) means(authority string) bool {
	if usual, err := c.defaultAuthority(); err == nil && usual == authority {
		return true
	}
	known := c.get("dfs.ha.namenodes."+authority) != "" || slices.Contains(list(c.get("dfs.nameservices")), authority)
	return !known && !strings.Contains(authority, ":")
}

// secure tells whether the cluster asks for Kerberos.
func (c Conf) secure() bool {
	return strings.EqualFold(c.get("hadoop.security.authentication"), "kerberos")
}

func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
}

// layout is how files are made. Zero: as the namenode says.
type layout struct {
	replication int
	blockSize   int64 // bytes
	file, dir   os.FileMode
}

func (c Conf) layout() (layout, error) {
	l := layout{}
	if text := c.get("dfs.replication"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxReplication {
			return l, fmt.Errorf("dfs.replication (%s) is %q: write a number from 1 to %d", c.place(), text, maxReplication)
		}
		l.replication = n
	}
	if text := c.get("dfs.blocksize"); text != "" {
		n, err := size(text)
		if err != nil || n < minBlock {
			return l, fmt.Errorf("dfs.blocksize (%s) is %q: write 1m or more, such as 134217728 or 128m", c.place(), text)
		}
		l.blockSize = n
	}
	l.replication, l.blockSize = cmp.Or(c.Replication, l.replication), cmp.Or(c.BlockSize, l.blockSize)
	mask := uint64(0o022)
	if text := c.get("fs.permissions.umask-mode"); text != "" {
		var err error
		if mask, err = strconv.ParseUint(text, 8, 9); err != nil {
			return l, fmt.Errorf("fs.permissions.umask-mode (%s) is %q: write it in octal, such as 027", c.place(), text)
		}
	}
	l.file, l.dir = 0o666&^os.FileMode(mask), 0o777&^os.FileMode(mask)
	return l, nil
}

// size reads a number of bytes as Hadoop does: 134217728, 128m, 1g.
func size(text string) (int64, error) {
	text = strings.ToLower(text)
	shift := 0
	if i := strings.IndexAny("kmgt", text[len(text)-1:]); i >= 0 {
		shift, text = 10*(i+1), text[:len(text)-1]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > 1<<62>>shift {
		return 0, errors.New("it is not a size")
	}
	return n << shift, nil
}
