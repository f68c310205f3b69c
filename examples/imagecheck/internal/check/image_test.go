// SPDX-License-Identifier: MIT

package check

import (
	"io/fs"
	"os"
	"testing"
	"testing/fstest"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// mapFS is an image without symbolic links to directories.
type mapFS struct{ fstest.MapFS }

func (m mapFS) Real(name string) (string, error) {
	_, err := m.Stat(name)
	return name, err
}

func (m mapFS) Has(base string) bool { return false }

// FuzzImage checks an image whose program, or its head, can be anything, and
// whose configuration says anything.
func FuzzImage(f *testing.F) {
	if program, err := os.ReadFile("/bin/true"); err == nil {
		f.Add(program[:min(len(program), 1<<16)], "/app", "", "0:0", "SIGTERM")
	}
	f.Add([]byte("#!/bin/sh -e\r\nexec \"$@\"\n"), "/app", "sh -c x", "app:app", "RTMIN+3")
	f.Add([]byte("#!/usr/bin/env -S a=b sh\n"), "app", "$x", "1:", "9")
	f.Add([]byte("\x7fELF\x02\x01\x01"), "/bin/sh", "-c", "", "3")
	f.Add([]byte("\xff Go buildinf:\x08\x02"), "tini", "--", ":x", "")
	f.Fuzz(func(t *testing.T, program []byte, entry, arg, user, signal string) {
		image := mapFS{fstest.MapFS{
			"app":        {Data: program, Mode: 0o755},
			"bin/sh":     {Data: program, Mode: 0o755},
			"bin/tini":   {Data: program, Mode: 0o755},
			"etc/passwd": {Data: program, Mode: 0o644},
			"dir":        {Mode: fs.ModeDir | 0o700},
		}}
		config := v1.Config{Entrypoint: []string{entry}, Cmd: []string{arg, "/app", entry}, User: user, StopSignal: signal,
			WorkingDir: arg, Env: []string{entry, "PATH=" + arg + ":/bin"}, Healthcheck: &v1.HealthConfig{Test: []string{"CMD-SHELL", arg}}}
		r := Image(config, v1.Platform{Architecture: "amd64"}, image, nil)
		for _, finding := range r.Findings {
			if severities[finding.Code] == 0 || finding.Reason == "" || finding.Fix == "" {
				t.Errorf("%+v", finding)
			}
		}
	})
}
