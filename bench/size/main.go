// SPDX-License-Identifier: MIT

// Command size measures what the library adds to a stripped binary.
//
//	go run ./size            # writes RESULTS.md
//	go run ./size -o ""      # to standard output only
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

// Each subject is a program with the library, and one without.
var subjects = []struct{ title, with, without string }{
	{"HTTP (examples/http)", module + "/examples/http", module + "/examples/http/internal/plain"},
	{"HTTPS from files, by pid1.TLS", module + "/bench/size/internal/tls", module + "/bench/size/internal/tlsplain"},
	{"gRPC, and HTTP for health checks", module + "/bench/size/internal/grpc", module + "/bench/size/internal/grpcplain"},
	{"HTTP with Prometheus's client", module + "/bench/size/internal/prometheus", module + "/bench/size/internal/prometheusplain"},
}

const module = "github.com/entrypoint-go/entrypoint"

func main() {
	file := flag.String("o", "RESULTS.md", "file to put the section into")
	only := flag.String("only", "", "measurement: there is size alone")
	flag.Parse()
	if err := run(os.Stdout, *only, *file); err != nil {
		fmt.Fprintln(os.Stderr, "size:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, only, file string) error {
	return report.Measurements{{Name: "size", Run: size}}.Run(w, "size", only, file)
}

func size() (*report.Section, error) {
	dir, err := os.MkdirTemp("", "size")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s := &report.Section{
		Title: "Size",
		About: "What a stripped binary gains: go build -trimpath -ldflags=\"-s -w\", without cgo, " + runtime.GOOS + "/" + runtime.GOARCH +
			". The program without the library logs by log/slog, too.",
		Head: []string{"the program serves", "without, KiB", "with, KiB", "more, KiB"},
	}
	for _, subject := range subjects {
		without, err := build(dir, subject.without)
		if err != nil {
			return nil, err
		}
		with, err := build(dir, subject.with)
		if err != nil {
			return nil, err
		}
		s.Rows = append(s.Rows, []string{subject.title, fmt.Sprint(without), fmt.Sprint(with), fmt.Sprint(with - without)})
	}
	return s, nil
}

// build returns the size of a program in KiB.
func build(dir, pkg string) (int64, error) {
	binary := filepath.Join(dir, "program")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		return 0, err
	}
	return info.Size() / 1024, nil
}
