package reliability

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"lake/services/servicetest"
)

var servers servicetest.Shared

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(cleanUp{servers.Around(m)})
}

// cleanUp removes the binaries that the tests built.
type cleanUp struct{ servicetest.Tests }

func (c cleanUp) Run() int {
	code := c.Tests.Run()
	if builds.dir != "" {
		if err := os.RemoveAll(builds.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	return code
}

// long says that all cases run, at full size: make chaos.
func long() bool { return os.Getenv("CHAOS") == "all" }

// onlyLong skips a case that takes long in make test.
func onlyLong(t *testing.T) {
	t.Helper()
	if !long() {
		t.Skip("a long case: make chaos runs it")
	}
}

// seed is CHAOS_SEED, or the clock's; a test that fails says it.
func seed(t testing.TB) uint64 {
	s := uint64(time.Now().UnixNano())
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		given, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "CHAOS_SEED")
		s = given
	}
	t.Logf("seed %d (CHAOS_SEED=%d make chaos CASE=%s repeats it)", s, s, strings.Split(t.Name(), "/")[0])
	return s
}

// number is an environment variable's, or the default.
func number(t testing.TB, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, name)
	return n
}

// limited bounds a case.
func limited(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, fmt.Errorf("the case takes longer than %s", d))
	t.Cleanup(cancel)
	return ctx
}

// builds are the binaries under test, each made once.
var builds struct {
	sync.Mutex
	dir  string
	made map[string]string
}

// lake is the binary as it ships, without cgo: make test's, or one built here.
func lake(t testing.TB) string {
	if path := os.Getenv("LAKE_TEST_BINARY"); path != "" {
		python(t)
		return path
	}
	return build(t, "lake", nil)
}

// build makes the binary of name, with files that stand for those of the
// repository (path in the repository → text). The repository is not touched.
func build(t testing.TB, name string, overlay map[string]string) string {
	t.Helper()
	python(t) // before the minute that a build may take
	builds.Lock()
	defer builds.Unlock()
	if path := builds.made[name]; path != "" {
		return path
	}
	path, err := buildLake(t.Context(), name, overlay)
	require.NoError(t, err)
	return path
}

// withDuckDB is the name of the binary that has DuckDB, and so needs a C compiler.
const withDuckDB = "lake-duckdb"

func buildLake(ctx context.Context, name string, overlay map[string]string) (string, error) {
	if builds.dir == "" {
		dir, err := os.MkdirTemp("", "lake-reliability-")
		if err != nil {
			return "", err
		}
		builds.dir, builds.made = dir, map[string]string{}
	}
	root, err := filepath.Abs("..")
	if err != nil {
		return "", err
	}
	path := filepath.Join(builds.dir, name)
	args := []string{"build", "-o", path}
	if overlay != nil {
		replace := map[string]string{}
		for file, text := range overlay {
			stand := filepath.Join(builds.dir, name+"-"+strings.ReplaceAll(file, "/", "-"))
			if err := os.WriteFile(stand, []byte(text), 0o644); err != nil {
				return "", err
			}
			if !filepath.IsAbs(file) {
				file = filepath.Join(root, file)
			}
			replace[file] = stand
		}
		plan, err := json.Marshal(map[string]map[string]string{"Replace": replace})
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(path+".json", plan, 0o644); err != nil {
			return "", err
		}
		args = append(args, "-overlay", path+".json")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/lake")...)
	cgo := "CGO_ENABLED=0"
	if name == withDuckDB {
		cgo = "CGO_ENABLED=1"
	}
	cmd.Dir, cmd.Env = root, append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("build %s: %w: %s", name, err, out))
	}
	builds.made[name] = path
	return path, nil
}
