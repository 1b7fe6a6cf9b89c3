// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
)

// inspected is an image of which every blob was found, and found to be what its digest says.
type inspected struct {
	name     string // Of the file that it is in.
	platform platform
	config   imageConfig
	layers   [][]byte // Unpacked.
}

// inspectFile reads the images of a layout. It follows digests from the index on, and demands that nothing else is there.
func inspectFile(file string) (images []*inspected, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	files := make(map[string][]byte)
	err = eachFile(f, func(h *tar.Header, data []byte) error {
		if h.Typeflag == tar.TypeReg {
			files[h.Name] = data
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if string(files["oci-layout"]) != layoutFile {
		return nil, errors.New("it is no layout of version 1.0.0")
	}
	r := &blobReader{files: files, seen: map[string]bool{"oci-layout": true, "index.json": true}}
	var top index
	if err := json.Unmarshal(files["index.json"], &top); err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	if len(top.Manifests) != 1 || top.Manifests[0].Annotations[refName] == "" {
		return nil, errors.New("its index does not name one image")
	}
	if images, err = r.images(top.Manifests[0]); err != nil {
		return nil, err
	}
	if loaded, ok := files["manifest.json"]; ok {
		r.seen["manifest.json"] = true
		if err := r.checkDocker(loaded); err != nil {
			return nil, fmt.Errorf("manifest.json: %w", err)
		}
	}
	for name := range files {
		if !r.seen[name] {
			return nil, fmt.Errorf("nothing refers to %s", name)
		}
	}
	for _, i := range images {
		i.name = file
		if err := i.check(); err != nil {
			return nil, fmt.Errorf("%s: %w", i.platform, err)
		}
	}
	return images, nil
}

// blobReader reads blobs of a layout.
type blobReader struct {
	files map[string][]byte
	seen  map[string]bool
}

// get returns a blob, if it is what its descriptor says.
func (r *blobReader) get(d descriptor, mediaType string) ([]byte, error) {
	blob, ok := r.files[blobPath(d.Digest)]
	switch {
	case d.MediaType != mediaType:
		return nil, fmt.Errorf("%s is %s, want %s", d.Digest, d.MediaType, mediaType)
	case !ok:
		return nil, fmt.Errorf("%s is not there", d.Digest)
	case "sha256:"+sumOf(blob) != d.Digest || int64(len(blob)) != d.Size:
		return nil, fmt.Errorf("%s is another blob, or has another size than %d", d.Digest, d.Size)
	}
	r.seen[blobPath(d.Digest)] = true
	return blob, nil
}

func (r *blobReader) getJSON(d descriptor, mediaType string, to any) error {
	blob, err := r.get(d, mediaType)
	if err != nil {
		return err
	}
	return json.Unmarshal(blob, to)
}

// images returns those below a descriptor: of an index, or of one.
func (r *blobReader) images(d descriptor) ([]*inspected, error) {
	if d.MediaType != indexType {
		i, err := r.image(d)
		return []*inspected{i}, err
	}
	var all index
	if err := r.getJSON(d, indexType, &all); err != nil {
		return nil, err
	}
	var images []*inspected
	for _, d := range all.Manifests {
		i, err := r.image(d)
		if err != nil {
			return nil, err
		}
		images = append(images, i)
	}
	if len(images) == 0 {
		return nil, errors.New("its index is empty")
	}
	return images, nil
}

func (r *blobReader) image(d descriptor) (*inspected, error) {
	var m manifest
	if err := r.getJSON(d, manifestType, &m); err != nil {
		return nil, err
	}
	var img image
	if err := r.getJSON(m.Config, configType, &img); err != nil {
		return nil, err
	}
	if d.Platform == nil || *d.Platform != img.ociPlatform {
		return nil, fmt.Errorf("%s: its platform is not that of its config", d.Digest)
	}
	if len(m.Layers) != len(img.RootFS.DiffIDs) {
		return nil, fmt.Errorf("%s has %d layers, and its config %d", d.Digest, len(m.Layers), len(img.RootFS.DiffIDs))
	}
	i := &inspected{platform: platform{img.OS, img.Architecture}, config: img.Config}
	for n, l := range m.Layers {
		packed, err := r.get(l, layerType)
		if err != nil {
			return nil, err
		}
		zr, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return nil, err
		}
		plain, err := io.ReadAll(io.LimitReader(zr, fileMost))
		if err != nil {
			return nil, err
		}
		if id := "sha256:" + sumOf(plain); id != img.RootFS.DiffIDs[n] {
			return nil, fmt.Errorf("layer %d is %s unpacked, and its config says %s", n, id, img.RootFS.DiffIDs[n])
		}
		i.layers = append(i.layers, plain)
	}
	return i, nil
}

// checkDocker demands that what "docker load" reads is what the index names.
func (r *blobReader) checkDocker(text []byte) error {
	var all []dockerImage
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	if len(all) != 1 || len(all[0].RepoTags) != 1 || len(all[0].Layers) == 0 {
		return errors.New("it does not name one image")
	}
	for _, name := range append(all[0].Layers, all[0].Config) {
		if !r.seen[name] {
			return fmt.Errorf("%s is not of the image", name)
		}
	}
	return nil
}

var ordinaryUser = regexp.MustCompile(`^[1-9]\d{0,8}:[1-9]\d{0,8}$`)

// check looks at the files of an image: programs of its platform, certificates, and no user with rights.
func (i *inspected) check() error {
	if !ordinaryUser.MatchString(i.config.User) {
		return fmt.Errorf("its user is %q, want the numbers of a user and a group without rights", i.config.User)
	}
	if len(i.config.Entrypoint) != 1 {
		return fmt.Errorf("its entrypoint is %q, want a program", i.config.Entrypoint)
	}
	want := map[string]bool{i.config.Entrypoint[0]: true, "/etc/ssl/certs/ca-certificates.crt": true}
	for volume := range i.config.Volumes {
		want[volume] = true
	}
	for _, layer := range i.layers {
		err := eachFile(bytes.NewReader(layer), func(h *tar.Header, data []byte) error {
			name := path.Clean("/" + h.Name)
			delete(want, name)
			if path.Dir(name) != "/" || h.Typeflag != tar.TypeReg {
				return nil
			}
			if err := checkProgram(data, i.platform); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for name := range want {
		return fmt.Errorf("it has no %s", name)
	}
	return nil
}
