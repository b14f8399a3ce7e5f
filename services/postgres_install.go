package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// postgresPrograms are the programs of one PostgreSQL.
type postgresPrograms struct {
	initdb, postgres string
	env              []string
}

// findPostgres takes the newest installed PostgreSQL, else fetches Debian's.
func findPostgres(ctx context.Context, o Options) (postgresPrograms, error) {
	if bin := newestPostgres("/"); bin != "" {
		return programsIn(bin), nil
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return programsIn(filepath.Dir(path)), nil
		}
	}
	cache, err := postgresCache()
	if err != nil {
		return postgresPrograms{}, err
	}
	return installPostgres(ctx, cache, o, "")
}

func programsIn(bin string) postgresPrograms {
	return postgresPrograms{initdb: filepath.Join(bin, "initdb"), postgres: filepath.Join(bin, "postgres")}
}

// newestPostgres is the bin folder of the newest version below a root; "" where there is none.
func newestPostgres(root string) string {
	found, _ := filepath.Glob(filepath.Join(root, "usr/lib/postgresql/*/bin/initdb")) // the pattern is right
	best, bin := -1, ""
	for _, path := range found {
		dir := filepath.Dir(path)
		if version, err := strconv.Atoi(filepath.Base(filepath.Dir(dir))); err == nil && version > best {
			best, bin = version, dir
		}
	}
	return bin
}

// postgresCache is the cache folder, or for root one that the user who runs the
// server can enter.
func postgresCache() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/lake/services", nil
	}
	return cacheFolder()
}

// Packages that PostgreSQL depends on and a server for tests does without: its
// compiler of queries is off, and Perl is for Debian's own scripts.
var postgresLeftOut = regexp.MustCompile(`^(libllvm|libz3|perl|libperl|libjson-perl|libgdbm|postgresql-common|postgresql-client-common|ssl-cert|adduser|locales|netbase|logrotate|debconf|libc6$|libc-bin|init-system-helpers|sensible-utils|ucf)`)

var inst = regexp.MustCompile(`(?m)^Inst (\S+) (?:\[[^\]]*\] )?\((\S+)`)

// installPostgres unpacks Debian's packages into the cache. status is apt's list
// of what is installed; "" is the machine's own.
func installPostgres(ctx context.Context, cache string, o Options, status string) (postgresPrograms, error) {
	root, err := install(ctx, cache, "postgresql", o, func(ctx context.Context, folder string) error {
		return fetchPostgres(ctx, folder, status)
	})
	if err != nil {
		return postgresPrograms{}, err
	}
	bin := newestPostgres(root)
	if bin == "" {
		return postgresPrograms{}, fmt.Errorf("folder %s has no PostgreSQL in it: remove it, it is fetched again then", root)
	}
	programs := programsIn(bin)
	libs, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	if err != nil {
		return postgresPrograms{}, err
	}
	programs.env = []string{"LD_LIBRARY_PATH=" + strings.Join(libs, ":")}
	return programs, nil
}

func fetchPostgres(ctx context.Context, folder, status string) error {
	get, err := tool("apt-get", "postgresql, or PostgreSQL's server otherwise")
	if err != nil {
		return err
	}
	unpack, err := tool("dpkg-deb", "dpkg")
	if err != nil {
		return err
	}
	// apt's lists and packages of our own: the machine's may be empty or locked.
	work, err := os.MkdirTemp("", "lake-apt-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	for _, dir := range []string{"lists/partial", "cache/archives/partial", "debs"} {
		if err := os.MkdirAll(filepath.Join(work, dir), 0o755); err != nil {
			return err
		}
	}
	apt := []string{get, "-q", "-o", "Dir::State::lists=" + filepath.Join(work, "lists"), "-o", "Dir::Cache=" + filepath.Join(work, "cache"),
		"-o", "APT::Sandbox::User=", "-o", "Acquire::Retries=3", "-o", "Debug::NoLocking=1"}
	if status != "" {
		apt = append(apt, "-o", "Dir::State::status="+status)
	}
	run := func(args ...string) (string, error) {
		return output(ctx, identity{}, filepath.Join(work, "debs"), []string{"LC_ALL=C"}, append(slices.Clone(apt), args...)...)
	}
	if _, err := run("update"); err != nil {
		return err
	}
	// The metapackage tells which version the distribution has.
	plan, err := run("install", "--simulate", "--no-install-recommends", "postgresql")
	if err != nil {
		return err
	}
	var packages []string
	for _, m := range inst.FindAllStringSubmatch(plan, -1) {
		if !postgresLeftOut.MatchString(m[1]) && m[1] != "postgresql" {
			packages = append(packages, m[1]+"="+m[2])
		}
	}
	if len(packages) == 0 {
		return errors.New("apt-get would install no package for postgresql: " + plan)
	}
	if _, err := run(append([]string{"download"}, packages...)...); err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(work, "debs", "*.deb"))
	if err != nil {
		return err
	}
	for _, deb := range debs {
		if _, err := output(ctx, identity{}, work, nil, unpack, "-x", deb, folder); err != nil {
			return err
		}
	}
	if newestPostgres(folder) == "" {
		return fmt.Errorf("the packages %s have no server in them", strings.Join(packages, " "))
	}
	return nil
}
