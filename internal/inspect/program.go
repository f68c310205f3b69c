// SPDX-License-Identifier: MIT

package inspect

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// A Need is a file that the kernel has to find to run another: the
// "interpreter" of a script, or the "loader" of a dynamically linked program.
type Need struct{ What, File string }

// Needs lists what the program at path needs, what that needs, and so on. The
// kernel follows five interpreters.
func Needs(files *Files, path string) (list []Need) {
	for range 5 {
		if loader := elfLoader(files, path); loader != "" {
			return append(list, Need{"loader", loader})
		}
		path = Shebang(Head(files, path))
		if path == "" {
			break
		}
		list = append(list, Need{"interpreter", path})
	}
	return list
}

// HeadSize is how much of a file the kernel looks at, since Linux 5.1.
const HeadSize = 256

// Head returns the first HeadSize bytes of a file, or nil if it cannot be read.
func Head(files *Files, path string) []byte {
	f, err := files.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	head := make([]byte, HeadSize)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil
	}
	return head[:n]
}

// Shebang returns the interpreter that the #! line of head names, or "". A
// carriage return belongs to the name, as it does for the kernel (load_script in
// fs/binfmt_script.c).
func Shebang(head []byte) string {
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

// ShebangArg returns the one argument that the #! line of head has, or "".
func ShebangArg(head []byte) string {
	interpreter := Shebang(head)
	if interpreter == "" {
		return ""
	}
	line, _, _ := bytes.Cut(head, []byte("\n"))
	line, _, _ = bytes.Cut(line, []byte("\x00"))
	_, arg, _ := bytes.Cut(line, []byte(interpreter))
	return string(bytes.Trim(arg, " \t"))
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

// Machine returns the GOARCH of the ELF file that begins with head. ok is
// false if it is no ELF file.
func Machine(head []byte) (goarch string, ok bool) {
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

// elfOrder returns the byte order of the ELF file that begins with head. ok is
// false if it is no ELF file.
func elfOrder(head []byte) (order binary.ByteOrder, ok bool) {
	if len(head) < 64 || !bytes.HasPrefix(head, []byte("\x7fELF")) {
		return nil, false
	}
	if head[5] == 2 {
		return binary.BigEndian, true
	}
	return binary.LittleEndian, true
}

// elfLoader returns the program interpreter (PT_INTERP) of the ELF file at path,
// the dynamic loader of its C library. It is "" for a static program.
func elfLoader(files *Files, path string) string {
	f, err := files.Open(path)
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
