// SPDX-License-Identifier: MIT

package term_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/entrypoint-go/entrypoint/internal/term"
	"github.com/entrypoint-go/entrypoint/internal/term/termtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTerminal(t *testing.T) {
	_, terminal := termtest.Open(t)
	if !term.IsTerminal(terminal) {
		t.Errorf("%s is no terminal", terminal.Name())
	}
	terminal.Close()
	if term.IsTerminal(terminal) {
		t.Error("a closed file is a terminal")
	}
}

func TestNoTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*os.File{r, w, null, file} {
		if term.IsTerminal(f) {
			t.Errorf("%s is a terminal", f.Name())
		}
		f.Close()
	}
	if term.IsTerminal(nil) {
		t.Error("nil is a terminal")
	}
}
