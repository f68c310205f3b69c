// SPDX-License-Identifier: MIT

// Command docs writes docs/measured.md and the picture of README.md from
// RESULTS.md.
//
//	go run ./docs
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	results := flag.String("results", "RESULTS.md", "file to read")
	dir := flag.String("o", "../docs", "folder to write into")
	flag.Parse()
	if err := run(*results, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func run(results, dir string) error {
	data, err := os.ReadFile(results)
	if err != nil {
		return err
	}
	files, err := generate(string(data))
	if err != nil {
		return fmt.Errorf("%s: %w", results, err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate returns the files by their names.
func generate(results string) (map[string][]byte, error) {
	files := map[string][]byte{"measured.md": []byte(measured(results))}
	for _, dark := range []bool{false, true} {
		picture, err := draw(results, dark)
		if err != nil {
			return nil, err
		}
		name := "stops-light.svg"
		if dark {
			name = "stops-dark.svg"
		}
		files[name] = picture
	}
	return files, nil
}

const header = `# Measured

Written by ` + "`cd bench && go run ./docs`" + ` from [bench/RESULTS.md](../bench/RESULTS.md). Each section was measured in one run of its command, subjects
interleaved, and names its machine. Times depend on the machine, ratios much less. Commands run in the folder bench, as root.
`

// measured is the text of measured.md.
func measured(results string) string {
	_, sections, _ := strings.Cut(results, "\n## ")
	return header + "\n## " + sections
}

// A table is that of a section: a row by its first cell.
type table struct {
	title string
	head  []string
	rows  map[string][]string
}

func findTable(results, title string) (*table, error) {
	_, section, found := strings.Cut(results, "\n## "+title+"\n")
	if !found {
		return nil, fmt.Errorf("there is no section %q", title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	t := &table{title: title, rows: map[string][]string{}}
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "| ---") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if t.head == nil {
			t.head = cells
		} else {
			t.rows[cells[0]] = cells
		}
	}
	return t, nil
}

// number is the value in a row and a column.
func (t *table) number(row, column string) (float64, error) {
	i := slices.Index(t.head, column)
	if i < 0 {
		return 0, fmt.Errorf("section %q: there is no column %q", t.title, column)
	}
	if t.rows[row] == nil {
		return 0, fmt.Errorf("section %q: there is no row %q", t.title, row)
	}
	var n float64
	if _, err := fmt.Sscan(t.rows[row][i], &n); err != nil {
		return 0, fmt.Errorf("section %q, row %q, column %q: %q is no number", t.title, row, column, t.rows[row][i])
	}
	return n, nil
}
