// SPDX-License-Identifier: MIT

package image

import (
	"archive/tar"
	"fmt"
	"io"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
)

// An entry is one header of a layer.
type entry struct {
	path string // relative to the root, without . and ..
	hard string // what a hard link links to
	node *node
}

// reader reads the layers of one image.
type reader struct {
	image *Image
	store *store
	keep  func(base string) bool // whose contents will be asked for
	told  Progress

	entries, names, bytes atomic.Int64
}

// readLayers reads all layers, as many at a time as there are processors, and
// returns the tree that they make.
func (r *reader) readLayers() (*node, error) {
	lists := make([][]entry, len(r.image.Layers))
	errs := make([]error, len(r.image.Layers))
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := range r.image.Layers {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			lists[i], errs[i] = r.readLayer(i)
		})
	}
	wg.Wait()

	root := newDir("/")
	for i, list := range lists {
		err := errs[i]
		if err == nil {
			err = apply(root, list)
		}
		if err != nil {
			return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(lists), err)
		}
		lists[i] = nil
	}
	return root, nil
}

// readLayer lists the files of a layer. Contents that will surely be asked for
// are kept on the way, since a compressed layer can be read from its beginning only.
func (r *reader) readLayer(layer int) (list []entry, err error) {
	stream, err := r.image.Layers[layer]()
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	archive := tar.NewReader(&counter{stream, r})
	for n := 0; ; n++ {
		header, err := archive.Next()
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("after %d files: %w", n, err)
		}
		e, err := r.entry(header, source{layer, n})
		if err != nil {
			return nil, err
		}
		if e.node == nil {
			continue
		}
		list = append(list, e)
		if header.Typeflag == tar.TypeReg && r.keep(e.node.name) && r.store.room(header.Size) {
			if err := r.store.keep(e.node.content, header.Size, archive); err != nil {
				return nil, fmt.Errorf("%q: %w", header.Name, err)
			}
		}
	}
}

// entry makes a header into an entry. Engines take an absolute name as relative to
// the root, and refuse what leads out of it.
func (r *reader) entry(header *tar.Header, content source) (entry, error) {
	name := path.Clean(strings.TrimLeft(header.Name, "/"))
	switch {
	case r.entries.Add(1) > int64(maxEntries):
		return entry{}, tooMuch("the layers", maxEntries, "files")
	case len(header.Name) > maxName || len(header.Linkname) > maxName:
		return entry{}, tooMuch(fmt.Sprintf("the name %.40q…", header.Name), maxName, "bytes")
	case r.names.Add(int64(len(name)+len(header.Linkname))) > int64(maxNames):
		return entry{}, tooMuch("all names", maxNames, "bytes")
	case name == ".." || strings.HasPrefix(name, "../"):
		return entry{}, fmt.Errorf("the name %q leads out of the image", header.Name)
	case header.Size < 0:
		return entry{}, fmt.Errorf("%q has %d bytes", header.Name, header.Size)
	}

	name = strings.Clone(name) // the header's is a part of something larger
	n := &node{name: path.Base(name), mode: header.FileInfo().Mode(), size: header.Size, uid: header.Uid, gid: header.Gid, content: content}
	e := entry{path: name, node: n}
	switch header.Typeflag {
	case tar.TypeDir:
		n.children = map[string]*node{}
	case tar.TypeSymlink:
		n.link = strings.Clone(header.Linkname)
	case tar.TypeLink:
		e.hard = path.Clean("/" + header.Linkname)
	case tar.TypeReg, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
	default:
		return entry{}, nil // nothing that engines unpack
	}
	return e, nil
}

// counter reports what has been read.
type counter struct {
	io.Reader
	r *reader
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	if total := c.r.bytes.Add(int64(n)); c.r.told != nil {
		c.r.told(total)
	}
	return n, err
}
