// SPDX-License-Identifier: MIT

package report

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
)

// machine describes where this runs: processor, cores, kernel, Go, and how
// busy it was besides.
func machine() string {
	load, _, _ := strings.Cut(read("/proc/loadavg"), " ")
	return fmt.Sprintf("%s, %d cores, Linux %s, %s, load average %s at the end",
		processor(), runtime.NumCPU(), kernel(), runtime.Version(), load)
}

func processor() string {
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, "\t :\n")
		}
	}
	return runtime.GOARCH
}

// kernel is the upstream version: what distributions append names no machine
// that others could find.
func kernel() string {
	release, _, _ := strings.Cut(strings.TrimSpace(read("/proc/sys/kernel/osrelease")), "-")
	return release
}

func read(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	return string(text)
}

// Module is the path and version of a module that this program is built with.
func Module(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return path
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return strings.TrimPrefix(path, "github.com/") + " " + short(m.Version)
		}
	}
	return path
}

// short is a version without the date and the commit of an untagged one.
func short(version string) string {
	if tag, rest, ok := strings.Cut(version, "-"); ok {
		date, _, _ := strings.Cut(rest, "-")
		return tag + "-" + date[:min(8, len(date))]
	}
	return version
}
