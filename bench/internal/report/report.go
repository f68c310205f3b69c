// SPDX-License-Identifier: MIT

// Package report writes what the benchmarks found as sections of one Markdown
// file. Each section stands alone: it names the machine, the date and the
// command that repeats it, and replaces the section of the same title.
package report

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

const header = `# Results

Each section was measured in one run of its command, subjects interleaved, and
names its machine. Times depend on the machine, ratios much less. Repeat a
section with its command, in this directory, as root; it replaces the section.
`

// A Section is one measurement.
type Section struct {
	Title   string
	Command string // repeats it
	About   string // what was done, and what the columns mean
	Head    []string
	Rows    [][]string
	Notes   []string
}

// String is the section in Markdown.
func (s *Section) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n\n", s.Title, wrap(s.About))
	line(&b, s.Head)
	rule := slices.Repeat([]string{"---:"}, len(s.Head))
	rule[0] = "---"
	line(&b, rule)
	for _, row := range s.Rows {
		line(&b, row)
	}
	b.WriteString("\n")
	for _, note := range s.Notes {
		fmt.Fprintf(&b, "%s\n\n", wrap(note))
	}
	fmt.Fprintf(&b, "%s. %s UTC. `%s`\n", machine(), time.Now().UTC().Format("2006-01-02 15:04"), s.Command)
	return b.String()
}

func line(b *strings.Builder, cells []string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

// wrap breaks text into lines of about 80 characters.
func wrap(text string) string {
	var b strings.Builder
	width := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case width+1+len(word) > 80:
			b.WriteByte('\n')
			width = 0
		default:
			b.WriteByte(' ')
			width++
		}
		b.WriteString(word)
		width += len(word)
	}
	return b.String()
}

// Save puts the section into the file at path, in place of the one of the same
// title, or at the end.
func (s *Section) Save(path string) error {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(replace(string(old), s.Title, s.String())), 0o644)
}

func replace(file, title, section string) string {
	if file == "" {
		file = header
	}
	parts := strings.Split(strings.TrimSpace(file), "\n## ")
	section = strings.TrimPrefix(strings.TrimSpace(section), "## ")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	at := slices.IndexFunc(parts[1:], func(p string) bool { return strings.HasPrefix(p, title+"\n") })
	if at < 0 {
		parts = append(parts, section)
	} else {
		parts[1+at] = section
	}
	return strings.Join(parts, "\n\n## ") + "\n"
}
