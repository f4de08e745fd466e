"""Convolutions and matrix products."""

from __future__ import annotations

import numpy as np

from tests.channels.cases import K, case, x

CASES = [
    case("Conv", x(2, 4, 5, 5), x(6, 4, 3, 3), flows="feff eeff", shifted="fiff eiff"),
    case("Conv", x(2, 4, 5, 5), x(6, 4, 3, 3), x(6), pads=[1, 1, 1, 1], strides=[2, 2], flows="feff eeff e", shifted="fiff eiff e"),
    case("Conv", x(2, 4, 7), x(4, 4, 3), x(4), dilations=[2], flows="fef eef e", shifted="fif eif e"),
    case("Conv", x(1, 4, 3, 3, 3), x(3, 4, 2, 2, 2), flows="-efff eefff", shifted="-ifff eifff"),
    case("Conv", x(2, 6, 5, 5), x(8, 3, 3, 3), x(8), group=2, flows="feff eeff e", shifted="fmff eiff e"),
    case("Conv", x(2, 6, 5, 5), x(6, 1, 3, 3), x(6), group=6, flows="feff e-ff e"),
    case("Conv", x(2, 4, 5, 5), x(8, 1, 3, 3), group=4, flows="feff e-ff"),
    case("Conv", x(1, 8, 3, 3), x(8, 2, 1, 1), group=4, flows="-eff ee--", shifted="-mff ei--"),
    case("Conv", x(1, 8, 3, 3), x(4, 2, 1, 1), x(4), group=4, flows="-eff ee-- e", shifted="-mff ei-- e"),
    case("ConvTranspose", x(2, 4, 5, 5), x(4, 6, 3, 3), x(6), flows="feff eeff e", shifted="fiff ieff e"),
    case("ConvTranspose", x(2, 4, 5), x(4, 4, 3), strides=[2], output_padding=[1], flows="fef eef", shifted="fif ief"),
    case("ConvTranspose", x(2, 6, 4, 4), x(6, 4, 3, 3), x(8), group=2, flows="feff eeff e", shifted="fmff meff e"),
    case("ConvTranspose", x(2, 6, 4, 4), x(6, 1, 3, 3), group=6, flows="feff e-ff"),
    case("ConvTranspose", x(2, 8, 4), x(8, 2, 1), group=4, flows="fef ee-", shifted="fmf me-"),
    case("MatMul", x(4, 5), x(5, 6), flows="ee ee", shifted="ei ie"),
    case("MatMul", x(2, 4, 5), x(5, 6), flows="eee ee", shifted="eei ie"),
    case("MatMul", x(2, 3, 4, 5), x(2, 3, 5, 6), flows="eeee eeee", shifted="eeei eeie"),
    case("MatMul", x(3, 4, 5), x(2, 3, 5, 6), flows="eee eeee", shifted="eei eeie"),
    case("MatMul", x(2, 1, 4, 5), x(3, 5, 6), flows="e-ee eee", shifted="e-ei eie"),
    case("MatMul", x(5), x(5, 6), flows="e ee", shifted="i ie"),
    case("MatMul", x(3, 5), x(5), flows="ee e", shifted="ei i"),
    case("MatMul", x(2, 4, 5), x(5), flows="eee e", shifted="eei i"),
    case("MatMul", x(5), x(2, 5, 3), flows="e eee", shifted="i eie"),
    case("MatMul", x(5), x(5), flows="e e", shifted="i i"),
    case("MatMul", x(4, 4), x(4, 4), flows="ee ee", shifted="ei ie"),
    case("Gemm", x(3, 4), x(4, 5), flows="ee ee", shifted="ei ie"),
    case("Gemm", x(3, 4), x(4, 5), x(5), flows="ee ee e", sums="ie ei i", shifted="ei ie e"),
    case("Gemm", x(3, 4), x(5, 4), x(1, 5), transB=1, alpha=0.5, beta=2.0, flows="ee ee -e", sums="ie ie -i", shifted="ei ei -e"),
    case("Gemm", x(4, 3), x(4, 5), x(3, 5), transA=1, flows="ee ee ee", shifted="ie ie ee"),
    case("Gemm", x(4, 3), x(5, 4), x(3, 1), transA=1, transB=1, flows="ee ee e-", sums="ei ie i-", shifted="ie ei e-"),
    case("Gemm", x(4, 4), x(4, 4), K(0.5, np.float32), transB=1, flows="ee ee", sums="ie ie", shifted="ei ei"),
    case("Gemm", x(4, 4), x(4, 4), K([0.5], np.float32), flows="ee ee", sums="ie ei", shifted="ei ie"),
    case("Einsum", x(3, 4), x(4, 5), equation="ij,jk->ik", flows="ee ee", shifted="ei ie"),
    case("Einsum", x(3, 4), x(4, 3), equation="ij, jk -> ki", flows="ee ee", shifted="ei ie"),
    case("Einsum", x(2, 3, 4, 5), x(2, 6, 4, 5), equation="bqhd,bkhd->bhqk", flows="eeee eeee", shifted="eeei eeei"),
    case("Einsum", x(3, 4), equation="ij->ji", flows="ee"),
    case("Einsum", x(3, 4), equation="ij->i", flows="ee", shifted="ei"),
    case("Einsum", x(3, 4), equation="ij->", flows="ee", shifted="ii"),
    case("Einsum", x(3, 3), equation="ii->i", flows="ee"),
    case("Einsum", x(3, 4), x(3, 4), equation="ij,ij->i", flows="ee ee", shifted="ei ei"),
    case("Einsum", x(3), x(4), equation="i,j->ij", flows="e e"),
    case("Einsum", x(2, 3, 4), x(2, 4, 5), equation="bij,bjk", flows="fff fff"),
    case("Einsum", x(2, 3, 4), x(4, 5), equation="...ij,jk->...ik", flows="fff ff"),
    case("Einsum", x(3, 4), x(3, 5), x(4, 5), equation="ij,ik,jk->j", flows="ee ee ee", shifted="ie ii ei"),
]
