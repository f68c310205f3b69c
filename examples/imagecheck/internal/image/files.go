// SPDX-License-Identifier: MIT

package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
)

// FS is the file system of an image, as a container sees it that runs from it.
// It is read-only; its files are io.ReaderAts. Symbolic links are followed inside
// of the image. Close removes what was read of it.
type FS struct {
	root   *node
	layers []Layer
	store  *store
	bytes  int64
}

var _ interface {
	fs.StatFS
	fs.ReadLinkFS
} = (*FS)(nil)

// Files reads the layers of the image. Keep reports whose contents will surely
// be asked for, by the last element of its path: that saves reading a layer
// twice. Told is called often, by several goroutines, and may be nil.
func (i *Image) Files(keep func(base string) bool, told Progress) (*FS, error) {
	s := &store{places: map[source]place{}}
	r := &reader{image: i, store: s, keep: keep, told: told}
	root, err := r.readLayers()
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return &FS{root, i.Layers, s, r.bytes.Load()}, nil
}

// Close removes the contents that were kept.
func (f *FS) Close() error { return f.store.close() }

func (f *FS) find(op, name string, follow bool) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	n, err := walk(f.root, name, follow, false)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return n, nil
}

// Stat implements fs.StatFS.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	n, err := f.find("stat", name, true)
	if err != nil {
		return nil, err
	}
	return info{n}, nil
}

// Lstat implements fs.ReadLinkFS.
func (f *FS) Lstat(name string) (fs.FileInfo, error) {
	n, err := f.find("lstat", name, false)
	if err != nil {
		return nil, err
	}
	return info{n}, nil
}

// ReadLink implements fs.ReadLinkFS.
func (f *FS) ReadLink(name string) (string, error) {
	n, err := f.find("readlink", name, false)
	if err == nil && n.mode&fs.ModeSymlink == 0 {
		err = &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	if err != nil {
		return "", err
	}
	return n.link, nil
}

// Real returns the path of a file without symbolic links, such as usr/bin/dash
// for bin/sh.
func (f *FS) Real(name string) (string, error) {
	path, err := realPath(f.root, name)
	if err != nil {
		return "", &fs.PathError{Op: "real path", Path: name, Err: err}
	}
	return path, nil
}

// Has reports whether any directory has a file of that name.
func (f *FS) Has(base string) bool { return has(f.root, base) }

func has(n *node, base string) bool {
	if n.children[base] != nil {
		return true
	}
	for _, child := range n.children {
		if has(child, base) {
			return true
		}
	}
	return false
}

// Open implements fs.FS.
func (f *FS) Open(name string) (fs.File, error) {
	n, err := f.find("open", name, true)
	if err != nil {
		return nil, err
	}
	if n.mode.IsDir() {
		return newDirectory(n), nil
	}
	if !n.mode.IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	content, err := f.content(n)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return &regular{info{n}, content}, nil
}

// content returns the contents of a regular file, from the store or from its layer.
func (f *FS) content(n *node) (*io.SectionReader, error) {
	if content := f.store.get(n.content); content != nil {
		return content, nil
	}
	stream, err := f.layers[n.content.layer]()
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	archive := tar.NewReader(stream)
	for range n.content.entry + 1 {
		if _, err := archive.Next(); err != nil {
			return nil, err
		}
	}
	if err := f.store.keep(n.content, n.size, archive); err != nil {
		return nil, err
	}
	return f.store.get(n.content), nil
}

// A directory is an open directory.
type directory struct {
	info info
	left []fs.DirEntry
}

func newDirectory(n *node) *directory {
	d := &directory{info: info{n}}
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		d.left = append(d.left, fs.FileInfoToDirEntry(info{n.children[name]}))
	}
	return d
}

func (d *directory) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *directory) Close() error               { return nil }

func (d *directory) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.Name(), Err: fs.ErrInvalid}
}

// ReadDir implements fs.ReadDirFile.
func (d *directory) ReadDir(n int) (list []fs.DirEntry, err error) {
	if n <= 0 || n > len(d.left) {
		if n > 0 && len(d.left) == 0 {
			return nil, io.EOF
		}
		n = len(d.left)
	}
	list, d.left = d.left[:n], d.left[n:]
	return list, nil
}

// A regular is an open regular file.
type regular struct {
	info info
	*io.SectionReader
}

func (r *regular) Stat() (fs.FileInfo, error) { return r.info, nil }
func (r *regular) Close() error               { return nil }

// A store keeps the contents of files in one temporary file.
type store struct {
	mu     sync.Mutex
	file   *os.File // nil until something is kept
	end    int64
	places map[source]place
}

// room reports whether a file may be kept before it is asked for.
func (s *store) room(size int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end+size <= maxFile
}

// keep copies size bytes.
func (s *store) keep(name source, size int64, r io.Reader) error {
	if size > maxFile {
		return tooMuch("the file", maxFile, "bytes")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		file, err := temporary()
		if err != nil {
			return err
		}
		s.file = file
	}
	n, err := io.Copy(io.NewOffsetWriter(s.file, s.end), io.LimitReader(r, size))
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes of %d: %w", n, size, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return err
	}
	s.places[name] = place{s.end, size}
	s.end += size
	return nil
}

// get returns nil if that was not kept.
func (s *store) get(name source) *io.SectionReader {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.places[name]
	if !ok {
		return nil
	}
	return io.NewSectionReader(s.file, p.offset, p.size)
}

func (s *store) close() error {
	if s.file == nil {
		return nil
	}
	name := s.file.Name()
	err := s.file.Close()
	os.Remove(name) // where an open file cannot be removed
	return err
}
