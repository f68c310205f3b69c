// SPDX-License-Identifier: MIT

package entrypoint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every link of the documents to a file of this repository, or to a heading of
// one, leads somewhere. Links to other hosts are not followed.
func TestLinks(t *testing.T) {
	for _, name := range documents(t) {
		for _, err := range brokenLinks(name, readFile(t, name)) {
			t.Error(err)
		}
	}
}

// Broken links show that TestLinks can fail.
func TestBrokenLinks(t *testing.T) {
	for _, link := range []string{"docs/no.md", "README.md#no-such-heading", "#nor-this"} {
		if errs := brokenLinks("README.md", "See [this]("+link+")."); len(errs) != 1 {
			t.Errorf("%s: got %v, want one error", link, errs)
		}
	}
	good := "# One, two\n\nSee [this](#one-two), [that](go.mod) and `[x](y)`.\n\n    [z](y)\n"
	if errs := brokenLinks("README.md", good); errs != nil {
		t.Errorf("got %v, want no error", errs)
	}
}

// documents lists the documents for readers. CHANGELOG.md tells of what was.
func documents(t *testing.T) []string {
	t.Helper()
	names := []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "bench/RESULTS.md"}
	docs, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(names, docs...)
}

var (
	link   = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	code   = regexp.MustCompile("`[^`]*`")
	prefix = regexp.MustCompile(`^[a-z]+:`)
)

func brokenLinks(name, markdown string) (errs []error) {
	for i, line := range prose(markdown) {
		for _, match := range link.FindAllStringSubmatch(code.ReplaceAllString(line, ""), -1) {
			if err := checkLink(name, markdown, match[1]); err != nil {
				errs = append(errs, fmt.Errorf("%s:%d: %w", name, i+1, err))
			}
		}
	}
	return errs
}

func checkLink(name, markdown, target string) error {
	if prefix.MatchString(target) {
		return nil
	}
	path, heading, _ := strings.Cut(target, "#")
	if path != "" {
		path = filepath.Join(filepath.Dir(name), path)
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("link to %s: no such file", target)
		}
		data, _ := os.ReadFile(path) // a directory has no headings
		markdown = string(data)
	}
	if heading != "" && !slices.Contains(headings(markdown), heading) {
		return fmt.Errorf("link to %s: no such heading", target)
	}
	return nil
}

// prose returns the lines, with those of code blocks empty.
func prose(markdown string) []string {
	lines := strings.Split(markdown, "\n")
	fenced := false
	for i, line := range lines {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if fenced || fence || strings.HasPrefix(line, "    ") {
			lines[i] = ""
		}
		fenced = fenced != fence
	}
	return lines
}

// headings returns the anchors that GitHub gives to the headings.
func headings(markdown string) (anchors []string) {
	drop := regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	for _, line := range prose(markdown) {
		if title := strings.TrimLeft(line, "#"); title != line {
			title = drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			anchors = append(anchors, strings.ReplaceAll(title, " ", "-"))
		}
	}
	return anchors
}
