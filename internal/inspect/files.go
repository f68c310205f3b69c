// SPDX-License-Identifier: MIT

package inspect

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// Files is where a program and what it needs are looked for: this system's
// files, Here, or those of an image, In. Names are those that execve(2) takes.
type Files struct {
	Open     func(name string) (File, error) // a regular file, nothing else
	Stat     func(name string) (fs.FileInfo, error)
	ReadLink func(name string) (string, error)

	noexec func(name string) bool // mounted with noexec; nil: cannot be
}

// A File is a file that has been opened for reading.
type File interface {
	io.ReaderAt
	io.Closer
}

// Here is this system's files, as this process sees them.
var Here = &Files{Open: openRegular, Stat: os.Stat, ReadLink: os.Readlink, noexec: mountedNoexec}

// openRegular opens nothing but regular files: opening a FIFO would block.
func openRegular(name string) (File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fs.ErrInvalid
	}
	return os.Open(name)
}

// In is the files of a file system with dir as the working directory. The files
// that fsys opens have to be io.ReaderAts, and links are resolved by fsys.
func In(fsys fs.FS, dir string) *Files {
	inside := func(name string) string {
		if !path.IsAbs(name) {
			name = path.Join(dir, name)
		}
		if name = path.Clean("/" + name)[1:]; name == "" {
			return "."
		}
		return name
	}
	return &Files{
		Open:     func(name string) (File, error) { return openIn(fsys, inside(name)) },
		Stat:     func(name string) (fs.FileInfo, error) { return fs.Stat(fsys, inside(name)) },
		ReadLink: func(name string) (string, error) { return fs.ReadLink(fsys, inside(name)) },
	}
}

func openIn(fsys fs.FS, name string) (File, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fs.ErrInvalid
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	file, ok := f.(File)
	if !ok {
		f.Close()
		return nil, fmt.Errorf("%s: the file system cannot read at an offset", name)
	}
	return file, nil
}
