// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The documents show what RESULTS.md has.
func TestUpToDate(t *testing.T) {
	data, err := os.ReadFile("../RESULTS.md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := generate(string(data))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../../docs", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("docs/%s differs from bench/RESULTS.md: run go run ./docs in bench", name)
		}
	}
}

func TestMissing(t *testing.T) {
	for _, results := range []string{
		"# Results\n",
		"# Results\n\n## Requests lost in a stop, HTTP/1.1\n\n| stop by | lost |\n| --- | ---: |\n",
		"# Results\n\n## Requests lost in a stop, HTTP/1.1\n\n| stop by | lost a stop |\n| --- | ---: |\n| this library | none |\n",
	} {
		if _, err := generate(results); err == nil {
			t.Errorf("got no error for %q", results)
		}
	}
}
