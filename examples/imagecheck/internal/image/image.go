// SPDX-License-Identifier: MIT

// Package image reads container images: what docker save writes, and OCI
// layouts. It runs nothing and writes nothing but one temporary file, which has
// no name any more while it is in use.
//
// Archives come from anywhere. So every size is bounded before memory is taken:
// see the limits below. That is why package layout and package tarball of
// go-containerregistry, which read indexes and configs whole, are used for tests
// only, and its types here.
package image

import (
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The limits. Images that people run are far below them.
const (
	maxJSON    = 8 << 20  // bytes of an index, a manifest or a config
	maxImages  = 64       // images of an archive
	maxNesting = 4        // indexes inside of indexes
	maxLayers  = 256      // layers of an image; overlayfs takes fewer
	maxName    = 4096     // bytes of a path or of a link's text, as PATH_MAX
	maxFile    = 1 << 30  // bytes of a file that is read
	maxWindow  = 32 << 20 // bytes of memory for zstd
)

// Tests lower these.
var (
	maxEntries = 1 << 20  // files of an archive, and of all layers of an image
	maxNames   = 96 << 20 // bytes of all their paths
)

// An Image is one image for one platform.
type Image struct {
	Name     string // such as app:latest, if the archive has one
	Group    string // images of one index have the same
	Digest   string // of its manifest, or of its config where there is none
	Platform v1.Platform
	Config   v1.Config
	Layers   []Layer // the lowest first
}

// A Layer opens a layer's tar stream, uncompressed.
type Layer func() (io.ReadCloser, error)

// An Archive is an open archive or layout.
type Archive struct {
	Images []Image
	Absent []string // platforms of an index whose images are not in the archive
	close  func() error
}

// Close closes the archive. Its images cannot be read any more.
func (a *Archive) Close() error { return a.close() }

// Progress is told what has been read so far, in bytes of uncompressed layers.
type Progress func(bytes int64)

func tooMuch(what string, limit int, unit string) error {
	return fmt.Errorf("%s: more than %d %s, which no image needs", what, limit, unit)
}
