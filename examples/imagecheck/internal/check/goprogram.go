// SPDX-License-Identifier: MIT

package check

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"io"
)

const library = "github.com/entrypoint-go/entrypoint"

// linked says which functions a Go program has, by the names that it keeps for
// its tracebacks, also when it is stripped.
type linked struct {
	app, pid1                             bool // this library's
	client, roots, users, temporary, form bool
}

// functions are looked for with what stands before and after a name in Go's
// table of functions, or before it alone.
func (l *linked) functions() []function {
	return []function{
		{library + "/pid1.(*App).Run\x00", &l.app},
		{library + "/pid1.", &l.pid1},
		{"net/http.(*Transport).roundTrip\x00", &l.client},
		{"crypto/x509.loadSystemRoots\x00", &l.roots},
		{"os/user.Current\x00", &l.users},
		{"os/user.Lookup", &l.users},
		{"os/user.lookup", &l.users},
		{"os.CreateTemp\x00", &l.temporary},
		{"os.MkdirTemp\x00", &l.temporary},
		{"mime/multipart.(*Reader).ReadForm\x00", &l.form},
	}
}

type function struct {
	name  string
	found *bool
}

// describe reads what Go has written into a program. Of others it knows nothing.
func (c *checker) describe(file string) (p Program) {
	path, err := c.lookPath(file)
	if err != nil {
		return p
	}
	info, err := c.files.Stat(path)
	if err != nil {
		return p
	}
	f, err := c.files.Open(path)
	if err != nil {
		return p
	}
	defer f.Close()
	build, err := buildinfo.Read(f)
	if err != nil {
		return p
	}
	p.Go, p.Module = build.GoVersion, build.Path
	p.linked.scan(io.NewSectionReader(f, 0, info.Size()))
	if !p.linked.pid1 {
		return p
	}
	p.Library = "unknown"
	for _, m := range append(build.Deps, &build.Main) {
		if m.Path == library {
			p.Library = m.Version
			if m.Replace != nil {
				p.Library = fmt.Sprintf("%s, replaced", m.Version)
			}
		}
	}
	return p
}

// scan looks for the functions in a program, piece by piece.
func (l *linked) scan(r io.Reader) {
	const longest = 80 // more than any name has
	functions := l.functions()
	piece := make([]byte, 1<<20)
	kept := 0
	for {
		n, err := io.ReadFull(r, piece[kept:])
		text := piece[:kept+n]
		for _, f := range functions {
			*f.found = *f.found || bytes.Contains(text, []byte(f.name))
		}
		if err != nil {
			return
		}
		kept = copy(piece, text[len(text)-longest:])
	}
}
