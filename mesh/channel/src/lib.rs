//! The engine around HTTP/2 connections: calls to services of the mesh, by name.
