// SPDX-License-Identifier: MIT

package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/klauspost/compress/zstd"
)

// blobs are the files of an archive by name, or those of a directory.
type blobs interface {
	open(name string) (io.ReadCloser, int64, error)
}

// folder is an OCI layout that is a directory. Links lead to nothing outside.
type folder struct{ fs.FS }

func (f folder) open(name string) (io.ReadCloser, int64, error) {
	info, err := fs.Stat(f, name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", name)
	}
	file, err := f.FS.Open(name)
	return file, info.Size(), err
}

// tarball is a tar archive, of which only the places of its files are kept.
type tarball struct {
	file  io.ReaderAt
	files map[string]place
	links map[string]string // docker save before version 25 links equal layers
}

type place struct{ offset, size int64 }

// readTarball lists the files of an archive. Nothing but headers is read.
func readTarball(file *os.File) (*tarball, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	t := &tarball{file, map[string]place{}, map[string]string{}}
	// The reader reads whole blocks, nothing ahead: after Next the file is where
	// the contents begin.
	for archive := tar.NewReader(file); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("after %d files: %w", len(t.files), err)
		}
		if len(t.files)+len(t.links) >= maxEntries {
			return nil, tooMuch("the archive", maxEntries, "files")
		}
		if len(header.Name) > maxName || len(header.Linkname) > maxName {
			return nil, tooMuch("a name", maxName, "bytes")
		}
		name := path.Clean(header.Name)
		switch header.Typeflag {
		case tar.TypeReg:
			offset, err := file.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			t.files[name] = place{offset, header.Size}
		case tar.TypeSymlink, tar.TypeLink:
			target := header.Linkname
			if header.Typeflag == tar.TypeSymlink {
				target = path.Join(path.Dir(name), target)
			}
			t.links[name] = path.Clean(target)
		}
	}
}

func (t *tarball) open(name string) (io.ReadCloser, int64, error) {
	target := path.Clean(name)
	for range 10 {
		if p, ok := t.files[target]; ok {
			return io.NopCloser(io.NewSectionReader(t.file, p.offset, p.size)), p.size, nil
		}
		next, ok := t.links[target]
		if !ok {
			return nil, 0, fmt.Errorf("%q is not in the archive: %w", target, fs.ErrNotExist)
		}
		target = next
	}
	return nil, 0, fmt.Errorf("%q is a link that leads in a circle", name)
}

// readJSON reads a small file whole.
func readJSON(b blobs, name string) ([]byte, error) {
	file, size, err := b.open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if size > maxJSON {
		return nil, tooMuch(name, maxJSON, "bytes")
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(file, text); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

// spool copies an archive into a temporary file, uncompressed.
func spool(r io.Reader) (*os.File, error) {
	r, err := uncompress(r)
	if err != nil {
		return nil, err
	}
	file, err := temporary()
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(file, r); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// temporary returns a file that goes with this process, however it ends.
func temporary() (*os.File, error) {
	file, err := os.CreateTemp("", "imagecheck-")
	if err != nil {
		return nil, err
	}
	os.Remove(file.Name()) // Windows cannot, and keeps it
	return file, nil
}

// uncompress returns r, or what gzip or zstd have made r of.
func uncompress(r io.Reader) (io.Reader, error) {
	b := bufio.NewReader(r)
	magic, _ := b.Peek(4)
	switch {
	case bytes.HasPrefix(magic, gzipMagic):
		return gzip.NewReader(b)
	case bytes.HasPrefix(magic, zstdMagic):
		return zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
	}
	return b, nil
}

var gzipMagic, zstdMagic = []byte("\x1f\x8b"), []byte("\x28\xb5\x2f\xfd")

func isCompressed(magic []byte) bool {
	return bytes.HasPrefix(magic, gzipMagic) || bytes.HasPrefix(magic, zstdMagic)
}
