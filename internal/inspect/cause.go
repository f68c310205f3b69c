// SPDX-License-Identifier: MIT

package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
)

// ExecCause returns the likely reason why execve(2) returned err for path, in
// words that say what to do, or "" if it has none. It is about a machine like this.
func ExecCause(files *Files, path string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return missingCause(files, path)
	case errors.Is(err, fs.ErrPermission):
		return deniedCause(files, path)
	case errors.Is(err, syscall.ENOEXEC):
		return formatCause(files, path)
	case errors.Is(err, syscall.EISDIR):
		return "name the program inside it"
	case errors.Is(err, syscall.ETXTBSY):
		return "a process has it open for writing"
	}
	return ""
}

// missingCause explains ENOENT: the file, or what it needs to start, is missing.
func missingCause(files *Files, path string) string {
	if target, err := files.ReadLink(path); err == nil {
		if _, err := files.Stat(path); err != nil {
			return fmt.Sprintf("it is a symbolic link to %q, which does not exist", target)
		}
	}
	for _, n := range Needs(files, path) {
		if _, err := files.Stat(n.File); err == nil {
			continue
		}
		if name, ok := strings.CutSuffix(n.File, "\r"); ok {
			return fmt.Sprintf("its first line ends in CRLF, so the kernel looks for an interpreter called %q; save it with Unix line ends (LF), and it is %q", n.File, name)
		}
		if n.What == "loader" {
			return fmt.Sprintf("it is dynamically linked and its loader %q does not exist here; link it statically (Go: CGO_ENABLED=0) or use the base image it was built for", n.File)
		}
		return fmt.Sprintf("its interpreter %q (see its first line) does not exist here", n.File)
	}
	return ""
}

// deniedCause explains EACCES: the file, a directory above it or what it needs
// to start does not allow it.
func deniedCause(files *Files, path string) string {
	info, err := files.Stat(path)
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
	case files.noexec != nil && files.noexec(path):
		return "its file system is mounted with noexec"
	}

	// Executable by somebody: by us, then the interpreter is to blame.
	for _, n := range Needs(files, path) {
		if info, err := files.Stat(n.File); err == nil && info.Mode()&0o111 == 0 {
			return fmt.Sprintf("its %s %q is not executable", n.What, n.File)
		}
	}
	return fmt.Sprintf("its mode is %v and this process has uid %d", info.Mode(), os.Geteuid())
}

// formatCause explains ENOEXEC: the kernel knows no such kind of program.
func formatCause(files *Files, path string) string {
	head := Head(files, path)
	machine, isELF := Machine(head)
	switch {
	case head == nil:
		return ""
	case len(head) == 0:
		return "the file is empty"
	case isELF && machine != runtime.GOARCH:
		return fmt.Sprintf("it is built for %s and this machine is %s; use the image or binary of this platform", machine, runtime.GOARCH)
	case isELF:
		return "it is damaged, or not a program (a library or an object file)"
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return "it is the beginning of an ELF program; the rest is missing"
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
