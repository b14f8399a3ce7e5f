package main

import (
	"math"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// TestMemoryOf: a machine of 8 GiB, and containers on it.
func TestMemoryOf(t *testing.T) {
	machine := &fstest.MapFile{Data: []byte("MemTotal:        8388608 kB\nMemFree:  1 kB\n")}
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for want, files := range map[int64]fstest.MapFS{
		math.MaxInt64: {},
		8 << 30:       {"proc/meminfo": machine, "sys/fs/cgroup/memory.max": file("max\n")},
		256 << 20:     {"proc/meminfo": machine, "sys/fs/cgroup/memory.max": file("268435456\n")},
		512 << 20:     {"proc/meminfo": machine, "sys/fs/cgroup/memory/memory.limit_in_bytes": file("536870912\n")},
		8<<30 - 1024:  {"proc/meminfo": file("MemTotal: 8388607 kB"), "sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n")}, // version 1's none
		1 << 30: {"proc/meminfo": machine, "proc/self/cgroup": file("0::/system.slice/lake.service\n"),
			"sys/fs/cgroup/system.slice/memory.max": file("2147483648\n"), "sys/fs/cgroup/system.slice/lake.service/memory.max": file("1073741824\n")},
		2 << 30: {"proc/meminfo": machine, "proc/self/cgroup": file("5:cpu,cpuacct:/x\n4:memory:/batch/lake\n0::/\n"), "sys/fs/cgroup/x/memory.max": file("1"),
			"sys/fs/cgroup/memory/batch/memory.limit_in_bytes": file("2147483648\n"), "sys/fs/cgroup/memory/batch/lake/memory.limit_in_bytes": file("9223372036854771712\n")},
	} {
		require.Equal(t, want, memoryOf(files))
	}
}
