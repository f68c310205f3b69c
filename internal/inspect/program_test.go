// SPDX-License-Identifier: MIT

package inspect

import (
	"bytes"
	"debug/elf"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestShebang(t *testing.T) {
	tests := []struct{ head, want, arg string }{
		{"", "", ""},
		{"#", "", ""},
		{"#!", "", ""},
		{"#!\n/bin/sh", "", ""},
		{"#! \t\n", "", ""},
		{" #!/bin/sh", "", ""},
		{"#!/bin/sh", "/bin/sh", ""},
		{"#!/bin/sh\n", "/bin/sh", ""},
		{"#! \t/bin/sh -eu\n", "/bin/sh", "-eu"},
		{"#!/usr/bin/env\tpython3\n", "/usr/bin/env", "python3"},
		{"#!/usr/bin/env  bash -e \n", "/usr/bin/env", "bash -e"},
		{"#!/bin/sh\r\n", "/bin/sh\r", ""},
		{"#!/bin/sh -e\r\n", "/bin/sh", "-e\r"},
		{"#!/bin/sh\x00x\n", "/bin/sh", ""},
	}
	for _, tt := range tests {
		if got := Shebang([]byte(tt.head)); got != tt.want {
			t.Errorf("Shebang(%q): got %q, want %q", tt.head, got, tt.want)
		}
		if got := ShebangArg([]byte(tt.head)); got != tt.arg {
			t.Errorf("ShebangArg(%q): got %q, want %q", tt.head, got, tt.arg)
		}
	}
}

// What we read by hand is what debug/elf reads, on the programs of this system.
func TestELFLikeDebugELF(t *testing.T) {
	files, _ := filepath.Glob("/usr/bin/*")
	self, _ := os.Executable()
	compared := 0
	for _, path := range append(files, self) {
		f, err := elf.Open(path)
		if err != nil {
			continue
		}
		want := ""
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP {
				name := make([]byte, p.Filesz)
				p.ReadAt(name, 0)
				want = strings.TrimRight(string(name), "\x00")
			}
		}
		f.Close()
		if got := elfLoader(Here, path); got != want {
			t.Errorf("loader of %s: got %q, want %q", path, got, want)
		}
		if compared++; compared == 200 {
			break
		}
	}
	if runtime.GOOS == "linux" && compared == 0 {
		t.Error("no ELF file found, not even the test itself")
	}
	if got, ok := Machine(Head(Here, self)); runtime.GOOS == "linux" && (got != runtime.GOARCH || !ok) {
		t.Errorf("machine of the test: got %q, %v; want %s", got, ok, runtime.GOARCH)
	}
}

func TestELFMachine(t *testing.T) {
	tests := []struct {
		class elf.Class
		data  elf.Data
		m     elf.Machine
		want  string
	}{
		{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_386, "386"},
		{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_X86_64, "amd64"},
		{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_ARM, "arm"},
		{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_AARCH64, "arm64"},
		{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_LOONGARCH, "loong64"},
		{elf.ELFCLASS32, elf.ELFDATA2MSB, elf.EM_MIPS, "mips"},
		{elf.ELFCLASS32, elf.ELFDATA2LSB, elf.EM_MIPS, "mipsle"},
		{elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_MIPS, "mips64"},
		{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_MIPS, "mips64le"},
		{elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_PPC64, "ppc64"},
		{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_PPC64, "ppc64le"},
		{elf.ELFCLASS64, elf.ELFDATA2LSB, elf.EM_RISCV, "riscv64"},
		{elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_S390, "s390x"},
		{elf.ELFCLASS64, elf.ELFDATA2MSB, elf.EM_SPARCV9, "ELF machine 43"},
	}
	for _, tt := range tests {
		head := make([]byte, 64)
		copy(head, "\x7fELF")
		head[4], head[5] = byte(tt.class), byte(tt.data)
		if tt.data == elf.ELFDATA2MSB {
			head[18], head[19] = byte(tt.m>>8), byte(tt.m)
		} else {
			head[18], head[19] = byte(tt.m), byte(tt.m>>8)
		}
		if got, ok := Machine(head); got != tt.want || !ok {
			t.Errorf("%v %v %v: got %q, %v; want %q", tt.class, tt.data, tt.m, got, ok, tt.want)
		}
	}
}

// Programs of another file system than this one's, such as an image.
func TestNeedsOfImage(t *testing.T) {
	image := fstest.MapFS{
		"start":     {Data: []byte("#!/sh -e\n"), Mode: 0o755},
		"sh":        {Data: []byte("#!/missing\n"), Mode: 0o755},
		"binary":    {Data: []byte("\x00"), Mode: 0o755},
		"forever":   {Data: []byte("#!/forever\n"), Mode: 0o755},
		"srv/local": {Data: []byte("#!../sh\n"), Mode: 0o755},
		"link":      {Data: []byte("start"), Mode: 0o777 | fs.ModeSymlink},
		"fifo":      {Data: []byte("#!/sh\n"), Mode: 0o644 | fs.ModeNamedPipe},
	}
	sh := []Need{{"interpreter", "/sh"}, {"interpreter", "/missing"}}
	for path, want := range map[string][]Need{
		"/start":      sh,
		"/../start":   sh, // nothing is above the root
		"/link":       sh,
		"local":       {{"interpreter", "../sh"}, {"interpreter", "/missing"}},
		"/binary":     nil,
		"/none":       nil,
		"/":           nil,
		"/fifo":       nil,
		"/forever":    slices.Repeat([]Need{{"interpreter", "/forever"}}, 5),
		"./local\x00": nil,
	} {
		if got := Needs(In(image, "/srv"), path); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

// The causes are the same wherever the program is.
func TestCauseInImage(t *testing.T) {
	image := fstest.MapFS{
		"app":      {Data: []byte("#!/bin/bash\n"), Mode: 0o755},
		"crlf":     {Data: []byte("#!/bin/sh\r\n"), Mode: 0o755},
		"plain":    {Data: []byte("echo\n"), Mode: 0o755},
		"data":     {Mode: 0o644},
		"dangling": {Data: []byte("nowhere"), Mode: 0o777 | fs.ModeSymlink},
		"dir/file": {},
	}
	for _, tt := range []struct {
		path string
		err  error
		want string
	}{
		{"/app", fs.ErrNotExist, `interpreter "/bin/bash"`},
		{"/crlf", fs.ErrNotExist, "CRLF"},
		{"/dangling", fs.ErrNotExist, `symbolic link to "nowhere"`},
		{"/data", fs.ErrPermission, "not executable"},
		{"/dir", fs.ErrPermission, "it is a directory"},
		{"/plain", syscall.ENOEXEC, "text file without a #! line"},
	} {
		if got := ExecCause(In(image, "/"), tt.path, tt.err); !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %q, want %q in it", tt.path, got, tt.want)
		}
	}
}

// FuzzProgram reads any file as a program; what comes out is only bounded.
func FuzzProgram(f *testing.F) {
	if self, err := os.Executable(); err == nil {
		f.Add(Head(Here, self))
	}
	f.Add([]byte("#!/bin/sh\n"))
	f.Add([]byte("\x7fELF\x02\x01"))
	f.Fuzz(func(t *testing.T, file []byte) {
		head := file[:min(len(file), 256)]
		if name, arg := Shebang(head), ShebangArg(head); strings.ContainsAny(name, " \t\n\x00") || strings.ContainsAny(arg, "\n\x00") {
			t.Errorf("interpreter %q, argument %q", name, arg)
		}
		Machine(head)
		if name := readLoader(bytes.NewReader(file)); len(name) > 4096 {
			t.Errorf("loader of %d bytes", len(name))
		}
	})
}
