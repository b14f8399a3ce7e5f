package main

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// byteSize is a number of bytes: 512MiB, 4GiB, 1000000.
type byteSize int64

var sizeUnits = []struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// Set implements pflag.Value.
func (b *byteSize) Set(text string) error {
	for _, unit := range sizeUnits {
		number, ok := strings.CutSuffix(text, unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || n <= 0 || n*unit.bytes > math.MaxInt64/2 {
			break
		}
		*b = byteSize(n * unit.bytes)
		if *b < 64<<20 {
			return fmt.Errorf("%q is too little: lake needs 64MiB or more", text)
		}
		return nil
	}
	return fmt.Errorf("%q is not a size; write 512MiB or 4GiB", text)
}

// String implements pflag.Value.
func (b *byteSize) String() string { return formatBytes(int64(*b)) }

// Type implements pflag.Value.
func (b *byteSize) Type() string { return "size" }

// formatBytes is a size for people: 1.5 GiB.
func formatBytes(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, i := float64(n), 0
	for value >= 1024 && i < len(units)-1 {
		value /= 1024
		i++
	}
	if value == math.Trunc(value) {
		return fmt.Sprintf("%d%s", int64(value), units[i])
	}
	return fmt.Sprintf("%.1f%s", value, units[i])
}

// formatCount is a number for people: 5,000,000.
func formatCount(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign := ""
	if strings.HasPrefix(text, "-") {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}

// formatCounted is n things: "1 commit", "2,000 commits".
func formatCounted(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return formatCount(n) + " " + thing + "s"
}

// defaultMemory is half of what the machine or the container has, 4 GiB at most.
func defaultMemory() byteSize {
	return byteSize(max(min(memoryOf(os.DirFS("/")), 8<<30)/2, 64<<20))
}

// memoryOf is how many bytes the machine has, or a control group that this process is
// in, of either version, where it has less; math.MaxInt64: nothing says.
func memoryOf(root fs.FS) int64 {
	limit := int64(math.MaxInt64)
	for _, name := range limits(root) {
		if data, err := fs.ReadFile(root, name); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil { // else it is max
				limit = min(limit, n)
			}
		}
	}
	if data, err := fs.ReadFile(root, "proc/meminfo"); err == nil {
		if fields := strings.Fields(string(data)); len(fields) > 1 && fields[0] == "MemTotal:" {
			if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				limit = min(limit, n<<10)
			}
		}
	}
	return limit
}

// limits are the files that have the memory of this process's control groups and
// of those around them. A container sees its own at the top.
func limits(root fs.FS) (files []string) {
	groups, _ := fs.ReadFile(root, "proc/self/cgroup") // 0::/a/b, or 4:memory:/a/b
	for line := range strings.Lines("0::/\n1:memory:/\n" + string(groups)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		folder, file := "sys/fs/cgroup", "memory.max"
		switch {
		case fields[1] == "":
		case slices.Contains(strings.Split(fields[1], ","), "memory"):
			folder, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for group := path.Clean("/" + fields[2]); ; group = path.Dir(group) {
			files = append(files, path.Join(folder, group, file))
			if group == "/" {
				break
			}
		}
	}
	return files
}
