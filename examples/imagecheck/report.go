// SPDX-License-Identifier: MIT

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/entrypoint-go/entrypoint/examples/imagecheck/internal/check"
	"github.com/entrypoint-go/entrypoint/examples/imagecheck/internal/image"
	"github.com/entrypoint-go/entrypoint/internal/inspect"
	"github.com/entrypoint-go/entrypoint/internal/term"
)

// A report is what is written about an archive. Its JSON form only grows.
type report struct {
	Images   []imageReport   `json:"images"`
	Findings []check.Finding `json:"findings"`         // about several images together
	Absent   []string        `json:"absent,omitempty"` // platforms that the index has and the archive lacks
}

type imageReport struct {
	Name     string `json:"name"`
	Platform string `json:"platform"`
	Digest   string `json:"digest"`
	check.Result
}

// all returns the findings of all images and those about them together.
func (r *report) all() []check.Finding {
	list := slices.Clone(r.Findings)
	for _, i := range r.Images {
		list = append(list, i.Findings...)
	}
	return list
}

// worst returns the severity of the worst finding, 0 if there is none.
func (r *report) worst() (worst check.Severity) {
	for _, f := range r.all() {
		worst = max(worst, f.Severity)
	}
	return worst
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// write writes the report for people.
func (r *report) write(w io.Writer, colour bool) error {
	var b strings.Builder
	for n, i := range r.Images {
		if n > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s  %s\n", clip(cmp.Or(i.Name, i.Digest)), clip(cmp.Or(i.Platform, "no platform")))
		i.describe(&b)
		writeFindings(&b, i.Findings, colour)
	}
	if len(r.Findings) > 0 {
		b.WriteString("\nall platforms together\n")
		writeFindings(&b, r.Findings, colour)
	}
	for _, name := range r.Absent {
		fmt.Fprintf(&b, "\n%s is in the index, and its image is not in this archive\n", clip(name))
	}
	fmt.Fprintf(&b, "\n%s\n", r.summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// describe writes what is known beside the findings, in two columns.
func (i *imageReport) describe(b *strings.Builder) {
	row := func(name, value string) { fmt.Fprintf(b, "  %-8s %s\n", name, clip(value)) }
	row("runs", command(i.Runs))
	if len(i.Entrypoint) > 0 {
		row("", "ENTRYPOINT "+command(i.Entrypoint)+", which it always runs")
	}
	switch {
	case i.Args != nil:
		row("", "arguments  "+command(i.Args)+", in place of CMD "+command(i.Cmd))
	case len(i.Cmd) > 0:
		row("", "CMD        "+command(i.Cmd)+", which the arguments of docker run replace")
	}
	row("PID 1", cmp.Or(i.PID1, "nothing"))
	if i.Program.Go != "" {
		text := fmt.Sprintf("%s: %s, a Go program of %s", i.Program.Path, i.Program.Module, i.Program.Go)
		if i.Program.Library != "" {
			text += ", with this library " + i.Program.Library
		}
		row("program", text)
	} else if i.Program.Path != "" && i.Program.Path != i.PID1 {
		row("program", i.Program.Path)
	}
	row("stop", i.StopSignal+map[check.Reach]string{
		check.Reaches: " reaches the program",
		check.Lost:    " does not reach the program",
		check.Unknown: ", of which nothing can be said",
	}[i.Reaches])
	row("user", i.User)
}

func command(words []string) string {
	if len(words) == 0 {
		return "nothing"
	}
	return inspect.JSONArray(words)
}

// clip makes text from an image fit for a terminal: one line, not too long.
func clip(text string) string {
	const longest = 300
	runes := []rune(text)
	if len(runes) > longest {
		runes = append(runes[:longest], '…')
	}
	for n, r := range runes {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			runes[n] = '�'
		}
	}
	return string(runes)
}

func writeFindings(b *strings.Builder, list []check.Finding, colour bool) {
	width := 0
	for _, f := range list {
		width = max(width, len(f.Code))
	}
	for n, f := range list {
		if n == 0 {
			b.WriteByte('\n')
		}
		severity := fmt.Sprintf("%-8s", f.Severity)
		if colour {
			severity = map[check.Severity]string{check.Error: "\x1b[31m", check.Warning: "\x1b[33m", check.Note: "\x1b[2m"}[f.Severity] + severity + "\x1b[0m"
		}
		fmt.Fprintf(b, "  %s %-*s  %s\n", severity, width, f.Code, clip(f.Reason))
		fmt.Fprintf(b, "  %8s %-*s  → %s\n", "", width, "", clip(f.Fix))
	}
}

func (r *report) summary() string {
	count := map[check.Severity]int{}
	for _, f := range r.all() {
		count[f.Severity]++
	}
	var parts []string
	for s := check.Error; s >= check.Note; s-- {
		if n := count[s]; n == 1 {
			parts = append(parts, fmt.Sprintf("1 %s", s))
		} else if n > 1 {
			parts = append(parts, fmt.Sprintf("%d %ss", n, s))
		}
	}
	if len(parts) == 0 {
		return "clean"
	}
	return strings.Join(parts, ", ")
}

// colours reports whether w is a terminal whose user wants colours (no-color.org).
func colours(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(f) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// progress returns what writes to a terminal how much has been read, nil for
// everything else, and what removes it.
func progress(w io.Writer) (told image.Progress, done func()) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(f) {
		return nil, func() {}
	}
	begin := time.Now()
	var next atomic.Int64 // milliseconds since begin
	next.Store(500)       // quick reads show nothing
	told = func(bytes int64) {
		now, due := time.Since(begin).Milliseconds(), next.Load()
		if now >= due && next.CompareAndSwap(due, now+100) { // one of several readers
			fmt.Fprintf(f, "\r%d MB read", bytes>>20)
		}
	}
	return told, func() {
		if next.Load() > 500 {
			fmt.Fprint(f, "\r\x1b[K")
		}
	}
}
