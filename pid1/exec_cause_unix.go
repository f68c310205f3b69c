//go:build unix

package pid1

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// execCause guesses why the kernel gave err for path, in words that say what to
// do; "" if it cannot. The kernel's side is execve(2), "Errors".
func execCause(path string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return missingCause(path)
	case errors.Is(err, fs.ErrPermission):
		return deniedCause(path)
	case errors.Is(err, syscall.ENOEXEC):
		return formatCause(path)
	case errors.Is(err, syscall.EISDIR):
		return "name the program inside it"
	case errors.Is(err, syscall.ETXTBSY):
		return "a process has it open for writing"
	case errors.Is(err, syscall.E2BIG):
		return "arguments and environment together are larger than the kernel takes"
	}
	return ""
}

// missingCause explains ENOENT: the file, or what it needs to start, is missing.
func missingCause(path string) string {
	if target, err := os.Readlink(path); err == nil {
		if _, err := os.Stat(path); err != nil {
			return fmt.Sprintf("it is a symbolic link to %q, which does not exist", target)
		}
	}
	for _, n := range needs(path) {
		if _, err := os.Stat(n.file); err == nil {
			continue
		}
		if name, ok := strings.CutSuffix(n.file, "\r"); ok {
			return fmt.Sprintf("its first line ends in CRLF, so the kernel looks for an interpreter called %q; save it with Unix line ends (LF), and it is %q", n.file, name)
		}
		if n.what == "loader" {
			return fmt.Sprintf("it is dynamically linked and its loader %q does not exist here; link it statically (Go: CGO_ENABLED=0) or use the base image it was built for", n.file)
		}
		return fmt.Sprintf("its interpreter %q (see its first line) does not exist here", n.file)
	}
	return ""
}

// deniedCause explains EACCES.
func deniedCause(path string) string {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return "a directory above it may not be searched by this user"
	case err != nil:
		return ""
	case info.IsDir():
		return "it is a directory; name the program inside it"
	case !info.Mode().IsRegular():
		return "it is not a regular file"
	case info.Mode()&0o111 == 0:
		return fmt.Sprintf("it is not executable, its mode is %v; chmod +x it (Dockerfile: COPY --chmod=755)", info.Mode())
	case mountedNoexec(path):
		return "its file system is mounted with noexec"
	}

	// Executable by somebody: by us, then the interpreter is to blame.
	for _, n := range needs(path) {
		if info, err := os.Stat(n.file); err == nil && info.Mode()&0o111 == 0 {
			return fmt.Sprintf("its %s %q is not executable", n.what, n.file)
		}
	}
	return fmt.Sprintf("its mode is %v and this process has uid %d", info.Mode(), os.Geteuid())
}

// formatCause explains ENOEXEC: the kernel knows no such kind of program.
func formatCause(path string) string {
	head := fileHead(path)
	machine, isELF := elfMachine(head)
	switch {
	case head == nil:
		return ""
	case len(head) == 0:
		return "the file is empty"
	case isELF && machine != runtime.GOARCH:
		return fmt.Sprintf("it is built for %s and this machine is %s; use the image or binary of this platform", machine, runtime.GOARCH)
	case isELF:
		return "it is damaged, or not a program (a library or an object file)"
	case bytes.HasPrefix(head, []byte("MZ")):
		return "it is a Windows program"
	case isMachO(head):
		return "it is a macOS program"
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf#!")):
		return "a byte order mark (U+FEFF) stands before its #! line; save it as UTF-8 without one"
	case bytes.HasPrefix(head, []byte("#!")):
		return "its #! line names no interpreter, or is too long"
	case bytes.IndexByte(head, 0) < 0:
		return "it is a text file without a #! line; begin a shell script with #!/bin/sh"
	}
	return ""
}

// A need is a file that the kernel has to find to run another: the
// "interpreter" of a script, the "loader" of a dynamically linked program.
type need struct{ what, file string }

// needs lists what path needs, what that needs, and so on. The kernel follows
// five interpreters.
func needs(path string) (list []need) {
	for range 5 {
		if loader := elfLoader(path); loader != "" {
			return append(list, need{"loader", loader})
		}
		path = shebang(fileHead(path))
		if path == "" {
			break
		}
		list = append(list, need{"interpreter", path})
	}
	return list
}

// fileHead is what the kernel looks at, 256 bytes since Linux 5.1; nil if the
// file cannot be read.
func fileHead(path string) []byte {
	f, err := openRegular(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	head := make([]byte, 256)
	n, err := io.ReadFull(f, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil
	}
	return head[:n]
}

// openRegular does not open anything else: opening a FIFO would block.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", filepath.Base(path))
	}
	return os.Open(path)
}

// shebang is the interpreter that the #! line of head names, or "". A carriage
// return belongs to the name, as it does for the kernel (load_script in
// fs/binfmt_script.c).
func shebang(head []byte) string {
	line, ok := bytes.CutPrefix(head, []byte("#!"))
	if !ok {
		return ""
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	line = bytes.TrimLeft(line, " \t")
	if end := bytes.IndexAny(line, " \t\x00"); end >= 0 {
		line = line[:end]
	}
	return string(line)
}

func isMachO(head []byte) bool {
	for _, magic := range []string{"\xcf\xfa\xed\xfe", "\xce\xfa\xed\xfe", "\xca\xfe\xba\xbe"} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return true
		}
	}
	return false
}

// The few fields of ELF (elf(5)) are read by hand: debug/elf would add 300 kB
// to every program that uses Exec or Command.

// elfMachine is the GOARCH of the ELF file that begins with head, in the
// spelling of Docker's platforms; ok is false if it is none.
func elfMachine(head []byte) (goarch string, ok bool) {
	order, ok := elfOrder(head)
	if !ok {
		return "", false
	}
	machine := order.Uint16(head[18:])
	goarch, known := elfMachines[machine]
	switch {
	case !known:
		return fmt.Sprintf("ELF machine %d", machine), true
	case goarch == "mips" && head[4] == 2:
		goarch = "mips64"
	}
	if order == binary.LittleEndian && (machine == 8 || machine == 21) {
		goarch += "le"
	}
	return goarch, true
}

// elfMachines are the values of e_machine that Go has a port for on Linux.
var elfMachines = map[uint16]string{
	3: "386", 8: "mips", 21: "ppc64", 22: "s390x", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64", 258: "loong64",
}

// elfOrder tells whether head begins an ELF file, and its byte order.
func elfOrder(head []byte) (binary.ByteOrder, bool) {
	if len(head) < 64 || !bytes.HasPrefix(head, []byte("\x7fELF")) {
		return nil, false
	}
	if head[5] == 2 {
		return binary.BigEndian, true
	}
	return binary.LittleEndian, true
}

// elfLoader is the program interpreter (PT_INTERP) of the ELF file at path: the
// dynamic loader of its C library. It is "" for a static program.
func elfLoader(path string) string {
	f, err := openRegular(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	return readLoader(f)
}

func readLoader(r io.ReaderAt) string {
	head := make([]byte, 64)
	r.ReadAt(head, 0)
	order, ok := elfOrder(head)
	if !ok {
		return ""
	}

	// Where the program headers are, and two fields of one, by word size.
	wide := head[4] == 2
	phoff, size, count := int64(order.Uint32(head[28:])), order.Uint16(head[42:]), order.Uint16(head[44:])
	if wide {
		phoff, size, count = int64(order.Uint64(head[32:])), order.Uint16(head[54:]), order.Uint16(head[56:])
	}
	for i := range int64(count) {
		header := make([]byte, 56)
		r.ReadAt(header, phoff+i*int64(size))
		if order.Uint32(header) != 3 { // PT_INTERP
			continue
		}
		offset, length := int64(order.Uint32(header[4:])), uint64(order.Uint32(header[16:]))
		if wide {
			offset, length = int64(order.Uint64(header[8:])), order.Uint64(header[32:])
		}
		name := make([]byte, min(length, 4096)) // PATH_MAX
		n, _ := r.ReadAt(name, offset)
		return string(bytes.TrimRight(name[:n], "\x00"))
	}
	return ""
}
