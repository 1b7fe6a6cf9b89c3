// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// Media types of OCI (https://github.com/opencontainers/image-spec).
const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar+gzip"

	layoutFile = `{"imageLayoutVersion":"1.0.0"}`
	refName    = "org.opencontainers.image.ref.name"
)

type (
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int64             `json:"size"`
		Platform    *ociPlatform      `json:"platform,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	ociPlatform struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	}
	index struct {
		Schema    int          `json:"schemaVersion"`
		MediaType string       `json:"mediaType"`
		Manifests []descriptor `json:"manifests"`
	}
	manifest struct {
		Schema    int          `json:"schemaVersion"`
		MediaType string       `json:"mediaType"`
		Config    descriptor   `json:"config"`
		Layers    []descriptor `json:"layers"`
	}
	image struct {
		Created string `json:"created"`
		ociPlatform
		Config  imageConfig `json:"config"`
		RootFS  rootFS      `json:"rootfs"`
		History []history   `json:"history"`
	}
	rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	history struct {
		Created   string `json:"created"`
		CreatedBy string `json:"created_by"`
	}
	// dockerImage is an element of manifest.json, which "docker load" reads.
	dockerImage struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
)

// layout is the content of an image layout: blobs by their digests.
type layout struct {
	blobs  map[string][]byte
	docker []dockerImage
}

func (l *layout) add(mediaType string, blob []byte) descriptor {
	digest := "sha256:" + sumOf(blob)
	l.blobs[digest] = blob
	return descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(blob))}
}

func (l *layout) addJSON(mediaType string, v any) (descriptor, error) {
	text, err := json.Marshal(v)
	return l.add(mediaType, text), err
}

// images writes the images of the Dockerfile: one layout of each for all platforms that run containers, and one file for each
// platform that "docker load" takes.
func (b *build) images(roots []byte, platforms []platform) error {
	stages, err := readDockerfile(filepath.Join(b.dir, "Dockerfile"), map[string]string{
		"VERSION": strings.TrimPrefix(b.version, "v"), "REVISION": b.commit, "SOURCE": b.source})
	if err != nil {
		return err
	}
	var jobs []func() error
	for _, s := range stages {
		repository := "tickedge"
		if s.name != "" {
			repository += "-" + s.name
		}
		jobs = append(jobs, func() error { return b.imagesOf(&s, repository, roots, platforms) })
	}
	return parallel(jobs)
}

func (b *build) imagesOf(s *stage, repository string, roots []byte, platforms []platform) error {
	all := &layout{blobs: make(map[string][]byte)}
	inner := index{Schema: 2, MediaType: indexType}
	for _, p := range platforms {
		if p.os != "linux" {
			continue
		}
		one := &layout{blobs: make(map[string][]byte)}
		d, err := b.addImage(one, s, p, repository, roots)
		if err != nil {
			return err
		}
		for digest, blob := range one.blobs {
			all.blobs[digest] = blob
		}
		inner.Manifests = append(inner.Manifests, d)
		if err := b.writeLayout(one, d, strings.Join([]string{repository, b.version, p.String()}, "-")+".docker.tar"); err != nil {
			return err
		}
	}
	d, err := all.addJSON(indexType, inner)
	if err != nil {
		return err
	}
	return b.writeLayout(all, d, repository+"-"+b.version+".oci.tar")
}

// addImage adds the image of one platform.
func (b *build) addImage(l *layout, s *stage, p platform, repository string, roots []byte) (d descriptor, err error) {
	created := time.Unix(b.epoch, 0).UTC().Format(time.RFC3339)
	of := ociPlatform{p.arch, p.os}
	img := image{Created: created, ociPlatform: of, Config: s.config, RootFS: rootFS{Type: "layers"}}
	m := manifest{Schema: 2, MediaType: manifestType}
	docker := dockerImage{RepoTags: []string{repository + ":" + strings.TrimPrefix(b.version, "v")}}
	for _, c := range s.copies {
		entries, err := b.copiedFiles(c, p, roots)
		if err != nil {
			return d, err
		}
		var plain, packed bytes.Buffer
		if err := writeTar(&plain, entries, b.epoch); err != nil {
			return d, err
		}
		img.RootFS.DiffIDs = append(img.RootFS.DiffIDs, "sha256:"+sumOf(plain.Bytes()))
		img.History = append(img.History, history{created, "COPY " + strings.Join(c.from, " ") + " " + c.to})
		zw := gzip.NewWriter(&packed)
		if _, err := io.Copy(zw, &plain); err != nil {
			return d, err
		}
		if err := zw.Close(); err != nil {
			return d, err
		}
		layer := l.add(layerType, packed.Bytes())
		m.Layers = append(m.Layers, layer)
		docker.Layers = append(docker.Layers, blobPath(layer.Digest))
	}
	if m.Config, err = l.addJSON(configType, img); err != nil {
		return d, err
	}
	docker.Config = blobPath(m.Config.Digest)
	l.docker = append(l.docker, docker)
	d, err = l.addJSON(manifestType, m)
	d.Platform = &of
	return d, err
}

// copiedFiles are the files of one COPY, with the folders above them.
func (b *build) copiedFiles(c copied, p platform, roots []byte) (entries []entry, err error) {
	to := strings.TrimPrefix(c.to, "/")
	for i, r := range to {
		if r == '/' {
			entries = append(entries, entry{name: to[:i+1], mode: 0o755})
		}
	}
	for _, from := range c.from {
		base := path.Base(from)
		switch {
		case from == "/data":
			entries = append(entries, entry{name: to + "/", mode: 0o700, uid: c.uid})
		case from == "/etc/ssl/certs/ca-certificates.crt":
			entries = append(entries, entry{name: to + base, mode: 0o644, uid: c.uid, data: roots})
		case path.Dir(from) == "/out":
			entries = append(entries, entry{name: to + base, mode: 0o755, uid: c.uid, opened: b.binary(p, base)})
		default:
			return nil, fmt.Errorf("COPY %s: a release does not know what is there", from)
		}
	}
	return entries, nil
}

func blobPath(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// writeLayout writes a layout as a tar, whose index names one image or index.
func (b *build) writeLayout(l *layout, d descriptor, file string) error {
	d.Annotations = map[string]string{refName: strings.TrimPrefix(b.version, "v")}
	top, err := json.Marshal(index{Schema: 2, MediaType: indexType, Manifests: []descriptor{d}})
	if err != nil {
		return err
	}
	entries := []entry{
		{name: "blobs/", mode: 0o755}, {name: "blobs/sha256/", mode: 0o755},
		{name: "index.json", mode: 0o644, data: top}, {name: "oci-layout", mode: 0o644, data: []byte(layoutFile)},
	}
	if l.docker != nil {
		loaded, err := json.Marshal(l.docker)
		if err != nil {
			return err
		}
		entries = append(entries, entry{name: "manifest.json", mode: 0o644, data: loaded})
	}
	for digest, blob := range l.blobs {
		entries = append(entries, entry{name: blobPath(digest), mode: 0o644, data: blob})
	}
	return create(filepath.Join(b.out, file), func(w io.Writer) error { return writeTar(w, entries, b.epoch) })
}
