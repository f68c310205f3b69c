// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/entrypoint-go/entrypoint/bench/internal/tool"
)

// self is the package of this program.
const self = "github.com/entrypoint-go/entrypoint/bench/rollout"

// buildProxy makes an image of this machine's HAProxy, its libraries and config.
func buildProxy(name, config string) error {
	program, err := exec.LookPath("haproxy")
	if err != nil {
		return fmt.Errorf("a proxy is needed, Debian's package haproxy: %w", err)
	}
	libraries, err := tool.Run("ldd", program)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "rollout")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "haproxy.cfg"), []byte(config), 0o644); err != nil {
		return err
	}
	files := []string{"-C", dir, "haproxy.cfg", "-C", "/", strings.TrimPrefix(program, "/")}
	for field := range strings.FieldsSeq(libraries) {
		if path, ok := strings.CutPrefix(field, "/"); ok {
			files = append(files, path)
		}
	}
	return tool.ImportImage(name, program, files...)
}

// The routes to a subject: by a proxy that goes to another task when one refuses
// the connection, and by one that tries the same again, as HAProxy does unless
// it is told otherwise.
const (
	redispatch = "redispatch"
	stubborn   = "stubborn"
)

var routes = []string{redispatch, stubborn}

// proxyConfig is HAProxy with discovery by DNS. Swarm takes a task out of the
// DNS 2 s before it sends SIGTERM; HAProxy asks the DNS every second, and keeps
// what has gone from there for 4 s (30 s in the example of its documentation).
// So it is late by 2 to 3 s, unless the check tells it earlier. A Host header
// chooses the backend.
var proxyConfig = template.Must(template.New("haproxy.cfg").Parse(`
global
	maxconn 2000
defaults
	mode http
	timeout connect 2s
	timeout client 60s
	timeout server 60s
resolvers docker
	nameserver dns 127.0.0.11:53
	accepted_payload_size 8192
	timeout resolve 1s
	hold obsolete 4s
frontend all
	bind :8080
	use_backend %[req.hdr(host)]
{{- range .Backends}}
backend {{.Name}}
	retries 3
	{{- if .Redispatch}}
	option redispatch 1
	{{- end}}
	option httpchk GET /readyz
	default-server check inter 1s fall 2 rise 1 resolvers docker init-addr none
	server-template task 16 tasks.{{.Service}}:8080
{{- end}}
`))

type backend struct {
	Name, Service string
	Redispatch    bool
}
