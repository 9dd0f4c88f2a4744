//! Polynomials over GF(2), for the seed that a repository keeps for its chunker.
//!
//! restic cuts files by a Rabin fingerprint modulo a random irreducible polynomial of degree 53,
//! and refuses a repository whose config names any other. Bit `i` is the coefficient of `x^i`.
//!
//! Sources: restic `doc/design.rst`, section "Backups and Deduplication"; the test for
//! irreducibility is Ben-Or's (M. Ben-Or, "Probabilistic algorithms in finite fields", 1981).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A polynomial over GF(2) of degree 63 or less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polynomial(u64);

/// A text is not a polynomial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a polynomial: expected up to 16 hex digits")]
pub struct ParsePolynomialError {
    text: String,
}

/// How many random polynomials are tried: one in 26.5 of those with a constant term is irreducible,
/// so that the chance to find none among these is below 10^-160.
const ATTEMPTS_MAX: u32 = 10_000;

impl Polynomial {
    /// The degree of the polynomials that repositories are made with.
    pub const DEGREE: u32 = 53;

    /// Wraps coefficients.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the coefficients.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Makes a random irreducible polynomial of degree [`Self::DEGREE`].
    pub fn random_irreducible() -> Self {
        const TOP: u64 = 1 << Polynomial::DEGREE;
        (0..ATTEMPTS_MAX)
            // Without a constant term it would be divisible by x.
            .map(|_| Self(rand::random::<u64>() & (TOP - 1) | TOP | 1))
            .find(|polynomial| polynomial.is_irreducible())
            .expect("among this many random polynomials one is irreducible")
    }

    /// Returns the degree; that of zero counts as 0.
    pub const fn degree(self) -> u32 {
        63_u32.saturating_sub(self.0.leading_zeros())
    }

    /// Tells whether no polynomial of lower degree but 1 divides it.
    ///
    /// Ben-Or: `f` of degree `n` is irreducible if and only if it shares no factor with
    /// `x^(2^i) - x` for every `i` up to `n / 2`.
    pub fn is_irreducible(self) -> bool {
        let x = Self(2);
        if self.degree() == 0 {
            return false;
        }
        let mut power = x.modulo(self);
        (1..=self.degree() / 2).all(|_| {
            power = power.square_modulo(self);
            self.gcd(Self(power.0 ^ x.modulo(self).0)).0 == 1
        })
    }

    /// Returns the remainder of the division by `divisor`, which is not zero.
    const fn modulo(self, divisor: Self) -> Self {
        let degree = divisor.degree();
        let mut rest = self;
        while rest.0 != 0 && rest.degree() >= degree {
            rest.0 ^= divisor.0 << (rest.degree() - degree);
            if degree == 0 {
                return Self(0);
            }
        }
        rest
    }

    /// Returns the square modulo `divisor`, which has a degree of 63 or less and of 1 or more.
    const fn square_modulo(self, divisor: Self) -> Self {
        let top = 1 << divisor.degree();
        let mut product = 0;
        let mut bit = self.degree() + 1;
        // Horner's rule from the highest coefficient: shift by one, reduce, add.
        while bit > 0 {
            bit -= 1;
            let carry = product >> 63 != 0;
            product <<= 1;
            if carry || product & top != 0 {
                product ^= divisor.0;
            }
            if self.0 >> bit & 1 != 0 {
                product ^= self.0;
            }
        }
        Self(product)
    }

    const fn gcd(self, other: Self) -> Self {
        let (mut a, mut b) = (self, other);
        while b.0 != 0 {
            (a, b) = (b, a.modulo(b));
        }
        a
    }
}

impl fmt::Display for Polynomial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for Polynomial {
    type Err = ParsePolynomialError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match u64::from_str_radix(text, 16) {
            Ok(bits) if !text.starts_with('+') => Ok(Self(bits)),
            _ => Err(ParsePolynomialError { text: text.to_owned() }),
        }
    }
}

impl Serialize for Polynomial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Polynomial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_polynomials_are_told_apart() {
        let irreducible: Vec<u64> =
            (0..32).filter(|bits| Polynomial::from_bits(*bits).is_irreducible()).collect();
        // x, x+1, x²+x+1, x³+x+1, x³+x²+1, x⁴+x+1, x⁴+x³+1, x⁴+x³+x²+x+1
        assert_eq!(irreducible, [2, 3, 7, 11, 13, 19, 25, 31]);
    }

    /// Of restic's tests for its chunker, and of the example in its description of the format.
    #[test]
    fn polynomials_of_restic_are_irreducible() {
        for bits in [0x003D_A335_8B4D_C173, 0x0025_B468_838D_CB75] {
            let polynomial = Polynomial::from_bits(bits);
            assert_eq!(polynomial.degree(), Polynomial::DEGREE);
            assert!(polynomial.is_irreducible(), "{polynomial}");
        }
    }

    #[test]
    fn products_are_reducible() {
        let multiply = |a: u64, b: u64| {
            (0..64).filter(|i| a >> i & 1 == 1).fold(0, |product, i| product ^ (b << i))
        };
        let factor = Polynomial::random_irreducible().bits();
        for (small, degree) in [(2, 54), (3, 54), (7, 55), (0b10_0011_0001, 62)] {
            let product = Polynomial::from_bits(multiply(small, factor));
            assert_eq!(product.degree(), degree);
            assert!(!product.is_irreducible(), "{small}");
        }
    }

    #[test]
    fn random_polynomials_are_as_restic_wants_them() {
        for _ in 0..20 {
            let polynomial = Polynomial::random_irreducible();
            assert_eq!(polynomial.degree(), Polynomial::DEGREE);
            assert!(polynomial.is_irreducible());
            assert_eq!(polynomial.to_string().parse(), Ok(polynomial));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for bad in ["", "+3", "-3", "0x3", "g", "11112222333344445"] {
            assert!(bad.parse::<Polynomial>().is_err(), "{bad}");
        }
    }
}
