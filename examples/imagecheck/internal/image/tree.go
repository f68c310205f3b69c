// SPDX-License-Identifier: MIT

package image

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
)

// A node is a file of an image, after all layers so far.
type node struct {
	name     string
	mode     fs.FileMode
	size     int64
	uid, gid int
	link     string           // of a symbolic link
	children map[string]*node // of a directory
	content  source
}

// A source is where the contents of a regular file are: in the entry'th header
// of a layer.
type source struct{ layer, entry int }

func newDir(name string) *node {
	return &node{name: name, mode: fs.ModeDir | 0o755, children: map[string]*node{}}
}

var errLoop = errors.New("symbolic links lead in a circle")

// maxLinks is how many symbolic links the kernel follows (path_resolution(7)).
const maxLinks = 40

// walk finds a file as the kernel does whose root directory is root: nothing is
// above it. The last link is followed if follow says so. With create missing
// directories are made.
func walk(root *node, name string, follow, create bool) (*node, error) {
	stack, err := walkAll(root, name, follow, create)
	if err != nil {
		return nil, err
	}
	return stack[len(stack)-1], nil
}

// realPath returns the path of a file without symbolic links.
func realPath(root *node, name string) (string, error) {
	stack, err := walkAll(root, name, true, false)
	if err != nil {
		return "", err
	}
	real := ""
	for _, n := range stack[1:] {
		real = path.Join(real, n.name)
	}
	return real, nil
}

// walkAll returns all directories on the way, the root first, and the file.
func walkAll(root *node, name string, follow, create bool) ([]*node, error) {
	links := 0
	stack := []*node{root}
	rest := strings.Split(name, "/")
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		at := stack[len(stack)-1]
		switch {
		case part == "":
			continue
		case !at.mode.IsDir():
			return nil, notDirectory(at.name)
		case part == ".":
			continue
		case part == "..":
			stack = stack[:max(len(stack)-1, 1)]
			continue
		}
		next, ok := at.children[part]
		if !ok {
			if !create {
				return nil, fs.ErrNotExist
			}
			next = newDir(part)
			at.children[part] = next
		}
		if next.mode&fs.ModeSymlink == 0 || len(rest) == 0 && !follow {
			stack = append(stack, next)
			continue
		}
		if links++; links > maxLinks {
			return nil, errLoop
		}
		if strings.HasPrefix(next.link, "/") {
			stack = stack[:1]
		}
		rest = append(strings.Split(next.link, "/"), rest...)
	}
	return stack, nil
}

func notDirectory(name string) error {
	return fmt.Errorf("%q is no directory: %w", name, fs.ErrNotExist)
}

// apply puts the entries of the next layer upon the tree. What a layer hides it
// hides of the layers below, wherever in the layer that stands (image-spec,
// "Whiteouts").
func apply(root *node, entries []entry) error {
	for _, e := range entries {
		dir, base := path.Split(e.path)
		hidden, ok := strings.CutPrefix(base, ".wh.")
		if !ok {
			continue
		}
		parent, err := walk(root, dir, true, false)
		switch {
		case err != nil || !parent.mode.IsDir():
			continue // nothing there to hide
		case base == ".wh..wh..opq":
			clear(parent.children)
		default:
			delete(parent.children, hidden)
		}
	}
	for _, e := range entries {
		if strings.HasPrefix(path.Base(e.path), ".wh.") {
			continue
		}
		if err := add(root, e); err != nil {
			return fmt.Errorf("%q: %w", e.path, err)
		}
	}
	return nil
}

func add(root *node, e entry) error {
	dir, base := path.Split(e.path)
	if base == "" || e.path == "." { // the root directory itself
		if e.node.mode.IsDir() {
			root.mode, root.uid, root.gid = e.node.mode, e.node.uid, e.node.gid
		}
		return nil
	}
	parent, err := walk(root, dir, true, true)
	if err != nil {
		return err
	}
	if !parent.mode.IsDir() {
		return notDirectory(dir)
	}

	n := e.node
	if e.hard != "" {
		target, err := walk(root, e.hard, false, false)
		if err != nil {
			return fmt.Errorf("hard link to %q: %w", e.hard, err)
		}
		if target.mode.IsDir() {
			return fmt.Errorf("hard link to the directory %q", e.hard)
		}
		linked := *target
		linked.name = base
		n = &linked
	}
	if old := parent.children[base]; n.mode.IsDir() && old != nil && old.mode.IsDir() {
		n.children = old.children
	}
	parent.children[base] = n
	return nil
}

// An info is what fs.Stat says of a file. Owner is what Sys returns.
type info struct{ *node }

// An Owner is whom a file belongs to.
type Owner struct{ UID, GID int }

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return Owner{i.uid, i.gid} }
