"""The gRPC services: conversion between messages and values, and from errors to statuses."""
