package inspect

import (
	"bytes"
	"debug/elf"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestShebang(t *testing.T) {
	tests := []struct{ head, want string }{
		{"", ""},
		{"#", ""},
		{"#!", ""},
		{"#!\n/bin/sh", ""},
		{"#! \t\n", ""},
		{" #!/bin/sh", ""},
		{"#!/bin/sh", "/bin/sh"},
		{"#!/bin/sh\n", "/bin/sh"},
		{"#! \t/bin/sh -eu\n", "/bin/sh"},
		{"#!/usr/bin/env\tpython3\n", "/usr/bin/env"},
		{"#!/bin/sh\r\n", "/bin/sh\r"},
		{"#!/bin/sh -e\r\n", "/bin/sh"},
		{"#!/bin/sh\x00x\n", "/bin/sh"},
	}
	for _, tt := range tests {
		if got := shebang([]byte(tt.head)); got != tt.want {
			t.Errorf("shebang(%q): got %q, want %q", tt.head, got, tt.want)
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
		if got := elfLoader(openRegular, path); got != want {
			t.Errorf("loader of %s: got %q, want %q", path, got, want)
		}
		if compared++; compared == 200 {
			break
		}
	}
	if runtime.GOOS == "linux" && compared == 0 {
		t.Error("no ELF file found, not even the test itself")
	}
	if got, ok := elfMachine(fileHead(openRegular, self)); runtime.GOOS == "linux" && (got != runtime.GOARCH || !ok) {
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
		if got, ok := elfMachine(head); got != tt.want || !ok {
			t.Errorf("%v %v %v: got %q, %v; want %q", tt.class, tt.data, tt.m, got, ok, tt.want)
		}
	}
}

// Programs of another file system than this one's, such as an image.
func TestNeedsOfImage(t *testing.T) {
	image := map[string]string{
		"/start":   "#!/sh -e\n",
		"/sh":      "#!/missing\n",
		"/binary":  "\x00",
		"/forever": "#!/forever\n",
	}
	open := func(path string) (file, error) {
		text, ok := image[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return nopCloser{strings.NewReader(text)}, nil
	}
	for path, want := range map[string][]need{
		"/start":   {{"interpreter", "/sh"}, {"interpreter", "/missing"}},
		"/binary":  nil,
		"/none":    nil,
		"/forever": slices.Repeat([]need{{"interpreter", "/forever"}}, 5),
	} {
		if got := needs(open, path); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

type nopCloser struct{ io.ReaderAt }

func (nopCloser) Close() error { return nil }

// FuzzProgram reads any file as a program; what comes out is only bounded.
func FuzzProgram(f *testing.F) {
	if self, err := os.Executable(); err == nil {
		f.Add(fileHead(openRegular, self))
	}
	f.Add([]byte("#!/bin/sh\n"))
	f.Add([]byte("\x7fELF\x02\x01"))
	f.Fuzz(func(t *testing.T, file []byte) {
		head := file[:min(len(file), 256)]
		if name := shebang(head); strings.ContainsAny(name, " \t\n\x00") {
			t.Errorf("interpreter %q", name)
		}
		elfMachine(head)
		if name := readLoader(bytes.NewReader(file)); len(name) > 4096 {
			t.Errorf("loader of %d bytes", len(name))
		}
	})
}
